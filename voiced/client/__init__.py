"""A client of the daemon: what `voiced say` uses, and what you may use.

    async with connect() as client:
        async with client.speak("Good morning") as speech:
            async for audio in speech:  # bytes in the speech's format, pcm by default
                play(audio)

Text that is still being written is said piece by piece, while the audio is played:

    async with client.open_speech() as speech:
        await speech.say("It is raining, so ")
        await speech.say("take an umbrella.")
        await speech.end()
        async for audio in speech:
            play(audio)

Without arguments `connect` takes `VOICED_URL` and `VOICED_TOKEN`, else the daemon on this machine.
`docs/assistant.md` shows a whole assistant.
"""

from voiced.client.errors import AnswerError, ClientError
from voiced.client.session import DEFAULT_URL, Client, connect
from voiced.client.speech import Ended, Mark, OpenSpeech, Speech

__all__ = [
    "DEFAULT_URL",
    "AnswerError",
    "Client",
    "ClientError",
    "Ended",
    "Mark",
    "OpenSpeech",
    "Speech",
    "connect",
]
