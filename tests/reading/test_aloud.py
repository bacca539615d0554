"""What is written, and what is said for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voiced.reading.aloud import apply_changes, find_changes
from voiced.reading.pronunciation import rules_of

AMERICAN = """
It costs $12.50. | It costs 12 dollars 50 cents.
$1 | 1 dollar
$1.00 | 1 dollar
$5 | 5 dollars
$0.99 | 99 cents
$0.01 | 1 cent
$1,284.50 | 1284 dollars 50 cents
-$5 | minus 5 dollars
$3.5 million | 3.5 million dollars
$2bn | 2 billion dollars
$30k | 30 thousand dollars
$2M deal | 2 million dollars deal
US$40 | 40 U S dollars
£3.20 | 3 pounds 20 pence
£1 | 1 pound
£0.01 | 1 penny
€1,234.56 | 1234 euros 56 cents
5 € | 5 euros
5€ | 5 euros
¥500 | 500 yen
₹250 | 250 rupees
12 EUR | 12 euros
CHF 20 | 20 Swiss francs
USD 3 | 3 dollars
Between $5 and $10. | Between 5 dollars and 10 dollars.
It's 10:00. | It's 10 o'clock.
15:00 | 15 hundred
10:30 | 10 30
3:05 pm | 3 oh 5 p m
3:00 pm | 3 p m
9:45 a.m. today | 9 45 a m today
00:15 | zero 15
23:59:10 | 23 hours 59 minutes 10 seconds
1:00:01 | 1 hour 1 second
7 p.m. | 7 p m.
At 7 p.m. he left. | At 7 p m he left.
See you at 5 p.m. Bring wine. | See you at 5 p m. Bring wine.
6am | 6 a m
6AM | 6 a m
2026-11-26 | November 26th, 2026
On 2026-01-01, | On January 1st, 2026,
11/26/2026 | November 26th, 2026
4/5/2026 | April 5th, 2026
26/11/2026 | November 26th, 2026
13/13/2026 | 13/13/2026
2026-02-30 | 2026-02-30
Nov 26, 2026 | November 26th, 2026
Nov. 3rd | November 3rd
Jan. 5 | January 5th
January 22 | January 22nd
5 Dec | December 5th
26 November 2026 | November 26th, 2026
Dec 2025 | December 2025
Sat, 5 Dec | Saturday, December 5th
Mon 3 p.m. | Monday 3 p m.
Fri, Nov 27 | Friday, November 27th
in May 2026 | in May 2026
May 1 | May 1st
1990s | 19 nineties
the 1960's | the 19 sixties
the '80s | the eighties
2020s | 20 twenties
In the 80s | In the eighties
the 1800s | the 18 hundreds
On May 10, 2026, | On May 10th, 2026,
She lives on Fifth Ave. He does not. | She lives on Fifth Avenue. He does not.
1h 5m 3s | 1 hour 5 minutes 3 seconds
5h 30m | 5 hours 30 minutes
5-6 a.m. today | 5 to 6 a m today
9:00–17:00 | 9 o'clock to 17 hundred
9:00-17:00 | 9 o'clock to 17 hundred
10kg-20kg | 10 to 20 kilograms
-5–0 °C | minus 5 to 0 degrees Celsius
Page 2/5 | Page 2 of 5
I rate it 4/5. | I rate it 4 of 5.
$5-10 | 5 to 10 dollars
from $5-10 million | from 5 to 10 million dollars
$1.5 bn | 1.5 billion dollars
5kg | 5 kilograms
1 kg | 1 kilogram
20 km | 20 kilometres
60 km/h | 60 kilometres an hour
1 km/h | 1 kilometre an hour
20°C | 20 degrees Celsius
-5°C | minus 5 degrees Celsius
−5 °C | minus 5 degrees Celsius
72°F | 72 degrees Fahrenheit
1°C | 1 degree Celsius
90° | 90 degrees
15 mph | 15 miles an hour
3 m² | 3 square metres
12kWh | 12 kilowatt hours
500 W | 500 watts
2.5 kW | 2.5 kilowatts
5 GB | 5 gigabytes
100 m | 100 metres
5 min | 5 minutes
1 min | 1 minute
3 h | 3 hours
10 s | 10 seconds
200 ms | 200 milliseconds
250 ml | 250 millilitres
2 tbsp | 2 tablespoons
6 ft | 6 feet
1 ft | 1 foot
1013 hPa | 1013 hectopascals
400 ppm | 400 parts per million
2.4 GHz | 2.4 gigahertz
300 Mbps | 300 megabits per second
2½ cups | 2 and a half cups
1 ½ cups | 1 and a half cups
3/4 cup | three quarters cup
1/2 | one half
2/3 | two thirds
1 1/2 cups | 1 and a half cups
2 3/4 | 2 and three quarters
24/7 | 24 7
10-20 | 10 to 20
2-3 days | 2 to 3 days
pages 10–20 | pages 10 to 20
2010-2020 | 2010 to 2020
10-20% | 10 to 20 percent
5-10 km | 5 to 10 kilometres
20-25°C | 20 to 25 degrees Celsius
16:9 | 16 to 9
5 x 3 | 5 by 3
1920x1080 | 1920 by 1080
2×4×6 | 2 by 4 by 6
5'10" | 5 foot 10
~5 | about 5
~$20 | about 20 dollars
No. 5 | number 5
#3 | number 3
Nos. 3 | number 3
v2.0 | version 2.0
Smith vs. Jones | Smith versus Jones
cats vs dogs | cats versus dogs
approx. five | approximately five
Prof. Plum | Professor Plum
Fifth Ave. now | Fifth Avenue now
max. 5 | maximum 5
w/ sugar | with sugar
w/o sugar | without sugar
+1 555 123 4567 | plus 1, 5 5 5, 1 2 3, 4 5 6 7
(555) 123-4567 | 5 5 5, 1 2 3, 4 5 6 7
555-123-4567 | 5 5 5, 1 2 3, 4 5 6 7
1-800-555-1234 | 1, 8 0 0, 5 5 5, 1 2 3 4
Call 555-1234 now | Call 5 5 5, 1 2 3 4 now
150-2000 people | 150 to 2000 people
+44 20 7946 0958 | plus 4 4, 2 0, 7 9 4 6, 0 9 5 8
020 7946 0958 | 0 2 0, 7 9 4 6, 0 9 5 8
john.doe@example.com | john dot doe at example dot com
a_b-c+d@mail.example.org | a underscore b dash c plus d at mail dot example dot org
https://www.example.com | example dot com
https://example.com/ | example dot com
See https://example.com/help now. | See example dot com slash help now.
https://example.com/a/very/long/path/that/nobody/says | example dot com
https://example.com/?q=1&utm_source=x | example dot com
http://example.com:8080/x | example dot com slash x
www.example.com | example dot com
192.168.1.1 | 192 dot 168 dot 1 dot 1
"""

BRITISH = """
4/5/2026 | the 4th of May 2026
26/11/2026 | the 26th of November 2026
11/26/2026 | the 26th of November 2026
2026-11-26 | the 26th of November 2026
26 Nov | the 26th of November
Nov 26, 2026 | the 26th of November 2026
3rd June | the 3rd of June
the 5 May 2020 | the 5th of May 2020
on the 5th May | on the 5th of May
£3.20 | 3 pounds 20 pence
15:00 | 15 hundred
"""

AS_IT_STANDS = """
It is 3.14159 long.
1,000,000 people
in 1984
in 2026
50%
1st and 22nd
NASA and the BBC
Dr. Smith and Mr. Jones
e.g. this, i.e. that
R2-D2
COVID-19
A4
24 hours
version 10.2.3
Chapter IV
5-3
10/2026
Let's go.
He said "five".
I'm at home
2 + 2 = 4
a@b
half-life
3D
Wi-Fi 6E
at 5.
mp3
may 5 people come
On May 10,000 people
In March 20,000 jobs
March 5%
In June 5 million
In March 5 people came
0x10
Boeing 737-800
+12.34%
iPhone 6s
the Sun 8 minutes ago
$20s
EUR/USD 1.10
M 5
"""

GERMAN = """
Das kostet 12,50 €. | Das kostet 12 Euro 50.
5 € | 5 Euro
1.234,56 € | 1234 Euro 56
€ 3 | 3 Euro
0,99 € | 99 Cent
2,00 $ | 2 Dollar
"""

FRENCH = """
12,50 € | 12 euros 50
1 € | 1 euro
1 234 € | 1234 euros
"""


def cases(table: str) -> list[tuple[str, str]]:
    found = []
    for line in table.strip().splitlines():
        written, bar, said = line.partition(" | ")
        found.append((written, said if bar else written))
    return found


def said(text: str, language: str) -> str:
    return apply_changes(text, find_changes(text, rules_of(language)))


@pytest.mark.parametrize(("written", "expected"), cases(AMERICAN))
def test_american_english(written: str, expected: str) -> None:
    assert said(written, "en-us") == expected


@pytest.mark.parametrize(("written", "expected"), cases(BRITISH))
def test_british_english(written: str, expected: str) -> None:
    assert said(written, "en-gb") == expected


@pytest.mark.parametrize(("written", "expected"), cases(AS_IT_STANDS))
def test_what_an_engine_reads_well_stays(written: str, expected: str) -> None:
    assert said(written, "en-us") == expected


@pytest.mark.parametrize(("written", "expected"), cases(GERMAN))
def test_german(written: str, expected: str) -> None:
    assert said(written, "de") == expected


@pytest.mark.parametrize(("written", "expected"), cases(FRENCH))
def test_french(written: str, expected: str) -> None:
    assert said(written, "fr") == expected


def test_there_are_enough_cases() -> None:
    tables = (AMERICAN, BRITISH, AS_IT_STANDS, GERMAN)
    assert sum(len(cases(table)) for table in tables) >= 150


@given(st.text(alphabet="0123456789.,:/-$€£ apmkgh°C+()@w½x'\"#", max_size=40))
def test_any_text_has_changes_in_order(text: str) -> None:
    for language in ("en-us", "en-gb", "de"):
        changes = find_changes(text, rules_of(language))
        ends = [0, *(change.end for change in changes)]
        assert all(change.start >= end for change, end in zip(changes, ends, strict=False))
        assert all(change.start < change.end for change in changes)


@pytest.mark.parametrize("language", ["vi", "ro", "ar", "xx", "ja"])
@pytest.mark.parametrize("text", ["12,50 €", "$5", "€ 99999999999999999999"])
def test_a_language_whose_words_are_not_known_is_left_alone(language: str, text: str) -> None:
    assert said(f"a {text} b", language) == f"a {text} b"
