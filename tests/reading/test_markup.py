from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voiced.backends.base import SegmentSizes
from voiced.reading.markup import CodeReading, MarkupReader
from voiced.synthesis.segmenter import Segmenter

Spoken = tuple[str, list[int], list[int]]


def read(
    text: str,
    *,
    cuts: Iterable[int] = (),
    language: str | None = None,
    code: CodeReading = "announce",
    keeps_phonemes: bool = False,
) -> Spoken:
    reader = MarkupReader(language=language, code=code, keeps_phonemes=keeps_phonemes)
    bounds = [0, *sorted(cuts), len(text)]
    readings = [reader.push(text[start:end]) for start, end in pairwise(bounds)]
    readings.append(reader.flush())
    return (
        "".join(reading.text for reading in readings),
        [start for reading in readings for start in reading.starts],
        [end for reading in readings for end in reading.ends],
    )


def spoken(text: str, *, language: str | None = None, code: CodeReading = "announce") -> str:
    return read(text, language=language, code=code)[0]


# ---------------------------------------------------------------------------------- within a line


@pytest.mark.parametrize(
    "text",
    [
        "5 * 3",
        "2*3 and 2 * 3 and 2**3",
        "a*b",
        "snake_case and a_b",
        "my_var_2",
        "C:\\Users\\me",
        "f(x)",
        "$5 & 10%",
        "10 - 3",
        "-5 °C",
        "+5",
        "#1 and #5 in C#",
        "~5 minutes",
        "~/bin",
        "e.g. this",
        "http://x_y_z/",
        "https://en.wikipedia.org/wiki/Foo_(bar)_baz/_next/",
        "2 < 3 and 3 > 2",
        "I <3 you <- there",
        "x <y then",
        "AT&T and R&D",
        "(see [1])",
        "arr[0] = 5",
        "yes|no",
        "© ™ ½ ① + = @ € ♯",
        "col·lecció",
        "Wait... what?!",
        "...and then",
        ".5 and :)",
        "2024 was long. 7",
        "3.5 is more",
        "Hello.  Two spaces  stay",
        "wrapped\nlines stay",
        "hard  \nbreak",
        "क्‍ष र्‍य नमस्ते",
        "می‌خواهم",
        "你好，世界。",
        "שלום עולם",
        "e\u0301te\u0301",
        "lone \ud83d half",
        "\r\nafter".strip(),
        "",
        "   ",
    ],
)
def test_what_is_not_markup_stays(text: str) -> None:
    assert read(text) == (text, list(range(len(text))), list(range(1, len(text) + 1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("**bold** and *it*", "bold and it"),
        ("__b__, _it_.", "b, it."),
        ("***x*** ~~gone~~", "x gone"),
        ("**bold *both* bold**", "bold both bold"),
        ("un**believ**able", "unbelievable"),
        ('"*It*" (**b**)', '"It" (b)'),
        ("**Note:** text", "Note: text"),
        ("这是*重点*和**粗体**。", "这是重点和粗体。"),
        ("stray ** here", "stray here"),
        ("Name ____.", "Name."),
        ("`code` and ``more``", "code and more"),
        ("`**kwargs` in `<div>` or `a|b`", "**kwargs in <div> or a|b"),
        ("It`s\n**ok**", "Its\nok"),
        ("More ```x``` here", "More x here"),
        ("```x``` here", "x here"),
        ("\\*no\\* 1\\. \\_x\\_", "*no* 1. _x_"),
        ("C:\\\\dir \\(a\\)", "C:\\dir (a)"),
        ("end\\\nnext", "end\nnext"),
        ('[text](http://a/b "title")', "text"),
        ("[a](http://x/y_(z)) b", "a b"),
        ("![alt](http://x/y.png) b", "alt b"),
        ("[![badge](a)](b) c", "badge c"),
        ("a ![](x) b", "a b"),
        ("[text][ref], [text][]", "text, text"),
        ("word[^1]. Word [^note].", "word. Word."),
        ("[note] and [[x]]", "note and x"),
        ("[broken](http://x\nnext", "broken(http://x\nnext"),
        ("<https://a.b/c_d> <me@a.b>", "https://a.b/c_d me@a.b"),
        ("<b>b</b> H<sub>2</sub>O", "b H2O"),
        ('<a href="http://x">y</a>', "y"),
        ("one<br>two<br/>\nthree", "one\ntwo\nthree"),
        ("a <!-- not\nheard --> b", "a b"),
        ("a <!-- open", "a <!-- open"),
        ("&lt;b&gt; &amp; &quot;x&quot; it&#39;s", '<b> & "x" it\'s'),
        ("5&nbsp;km &copy; &amp", "5\u00a0km &copy; &amp"),
        ("a | b and c|d", "a, b and c, d."),
        ("Settings → Devices → Add", "Settings, Devices, Add"),
        ("red • green · blue", "red, green, blue"),
    ],
)
def test_marks_within_a_line_are_not_spoken(text: str, expected: str) -> None:
    assert spoken(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Great 🎉!", "Great!"),
        ("Done 🎉 Next step", "Done Next step"),
        ("Great!🎉Let's go", "Great! Let's go"),
        ("word🎉word", "word word"),
        ("Done! 🎉! Next", "Done! Next"),
        ("Yes 👨‍👩‍👧‍👦👍🏽❤️‍🔥 no", "Yes no"),
        ("To 🇩🇪, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 too", "To, too"),
        ("Press 1️⃣2️⃣ now", "Press 1 2 now"),
        ("Rated ★★★☆☆ well ✓", "Rated well "),
        ("(yes 🎉) ¡🎉Hola!", "(yes) ¡Hola!"),
        ("你好🎉。", "你好。"),
        ("™️ stays", "™ stays"),
        ("Bye 😊\nNow", "Bye\nNow"),
        ("ok...🎉", "ok..."),
    ],
)
def test_emoji_leave_no_trace(text: str, expected: str) -> None:
    assert spoken(text) == expected


# ------------------------------------------------------------------------------------------ blocks


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Title\nText", "Title.\n\nText"),
        ("###### Why ##\n\nText", "Why.\n\nText"),
        ("## C# ##", "C#."),
        ("# 标题\n内容", "标题。\n\n内容"),
        ("### 🌤️ **Today**\nSunny", "Today.\n\nSunny"),
        ("#\ntext", "text"),
        ("Title\n=====\nText", "Title.\n\nText"),
        ("Text\n# Title", "Text.\n\nTitle."),
        ("One\n\n\n\nTwo", "One.\n\nTwo"),
        ("One.\n \nTwo", "One.\n\nTwo"),
        ('He said "Stop!"\n\nThen', 'He said "Stop!"\n\nThen'),
        ("नमस्ते।\n\nएक", "नमस्ते।\n\nएक"),
        ("مرحبا؟\n\nنعم", "مرحبا؟\n\nنعم"),
        ("\n\n Hello", "Hello"),
    ],
)
def test_titles_and_paragraphs_end_as_sentences(text: str, expected: str) -> None:
    assert spoken(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b", "a.\nb."),
        ("* a,\n* b!\n+ c;", "a,\nb!\nc;"),
        ("• a\n– b\n·  c", "a.\nb.\nc."),
        ("— Да?\n— Нет", "Да?\nНет."),
        ("1. Wash\n2) Cook", "1. Wash.\n2) Cook."),
        ("1️⃣ Mix\n2️⃣ Bake", "1 Mix.\n2 Bake."),
        ("✅ Done\n❌ Not", "Done.\nNot."),
        ("- [ ] Milk\n- [x] Eggs", "Milk.\nEggs."),
        ("- a\n  - b\n\t* c", "a.\nb.\nc."),
        ("- wrapped\nline\n- b", "wrapped\nline.\nb."),
        ("- a\n\n- b\n\nText", "a.\n\nb.\n\nText"),
        ("You need:\n- a", "You need:\n\na."),
        ("You need\n1. a", "You need.\n\n1. a."),
        ("- **Bold**: text", "Bold: text."),
        ("-\n- a", "a."),
        ("- 5 degrees", "5 degrees."),
        ("- 项目\n- 二。", "项目。\n二。"),
        ("1、洗米\n2、煮", "1、洗米。\n2、煮。"),
        ("in the year\n2024. That is", "in the year\n2024. That is"),
    ],
)
def test_list_items_end_as_sentences(text: str, expected: str) -> None:
    assert spoken(text) == expected


@pytest.mark.parametrize(
    "rule",
    ["---", "***", "___", "===", "* * *", "- - -", "-" * 200, "=" * 64, "......", "────", "—————"],
)
def test_a_separator_is_not_spoken(rule: str) -> None:
    assert spoken(f"One\n{rule}\nTwo") == "One.\n\nTwo"
    assert spoken(f"One\n\n {rule} \n\nTwo") == "One.\n\nTwo"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("> a\n> b\n\nc", "a\nb.\n\nc"),
        ("> > nested\n>\n> - x", "nested.\n\nx."),
        ("a\n> b\nc", "a.\n\nb.\n\nc"),
        (">> deep", "deep"),
        (">5", ">5"),
        ("a\n\n[ref]: http://x\n[1]: </y> 'T'\n\nb", "a.\n\nb"),
        ("[^1]: A note", "A note."),
        ("[Anna]: help me", "Anna: help me"),
        ("| A | B |\n|---|:-:|\n| 1 | 2 |\n\nText", "A, B.\n\n1, 2.\n\nText"),
        ("| a  |  |b!|\n|c|\nText", "a, b!\nc.\n\nText"),
        ("| a, | `x|y` | \\| |", "a, x|y, |."),
        ("a | b\n--|--\n1 | 2", "a, b.\n\n1, 2."),
        ("+---+\n| a |\n+===+", "a.\n\n"),
        ("<ul>\n<li>One</li>\n<li>Two!</li>\n</ul>\nText", "One.\n\nTwo!\n\nText"),
        ("<p>One</p><p>Two</p>", "One.\n\nTwo.\n\n"),
    ],
)
def test_quotes_tables_and_tags_are_read_by_their_words(text: str, expected: str) -> None:
    assert spoken(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So:\n```python\nx = 1\n```\nDone", "So:\n\nCode block.\n\nDone"),
        ("So\n\n~~~\n# no\n```\n~~~~\nDone", "So.\n\nCode block.\n\nDone"),
        ("````md\n```\nx\n```\n````\nDone", "Code block.\n\nDone"),
        ("1. First:\n   ```\n   ls\n   ```\n2. Next", "1. First:\n\nCode block.\n\n2. Next."),
        ("> ```\n> x\n> ```\n> Done", "Code block.\n\nDone"),
        ("```\nnever closed\n\n# at all", "Code block.\n\n"),
    ],
)
def test_a_code_block_is_announced_and_not_spoken(text: str, expected: str) -> None:
    assert spoken(text) == expected
    assert spoken(text, code="skip") == expected.replace("Code block.\n\n", "")


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", "Codeblock."),
        ("pt-BR", "Bloco de código."),
        ("ZH_tw", "代码块。"),
        ("xx", "Code block."),
        (None, "Code block."),
    ],
)
def test_a_code_block_is_announced_in_the_language(language: str | None, expected: str) -> None:
    assert spoken("```\nx\n```", language=language).strip() == expected


def test_a_typical_answer_reads_well() -> None:
    answer = (
        "Sure! Here's your **shopping list** 🛒:\n\n- [ ] Milk 🥛\n- [x] Eggs (12)\n"
        "    - *free range*\n\n### Tips\n1. Buy `organic`\n2. See [this](http://x.y)\n\n"
        "---\nEnjoy! 😊"
    )
    assert spoken(answer) == (
        "Sure! Here's your shopping list:\n\nMilk.\nEggs (12).\nfree range.\n\nTips.\n\n"
        "1. Buy organic.\n2. See this.\n\nEnjoy! "
    )


def test_the_segmenter_hears_the_items_one_by_one() -> None:
    segmenter = Segmenter(SegmentSizes(preferred=1, largest=400), first="sentence")
    segmenter.push(spoken("# To do\nFirst\n1. Wash the rice\n2. Boil it\n- Eat 🍚"))
    segmenter.flush()
    pieces = []
    while piece := segmenter.next_piece():
        pieces.append(piece.text)
    assert pieces == ["To do.", "First.", "1. Wash the rice.", "2. Boil it.", "Eat."]


# ------------------------------------------------------------------------------------- at once


@pytest.mark.parametrize(
    "text",
    [
        "Hello there, my friend",
        "Hello! ",
        "He said “Hello.” ",
        "Hello.\n",
        "Well, this is it: a test (really",
        "你好，世界",
        "**Bold** words",
        "- An item",
        "# A title",
    ],
)
def test_words_come_out_at_once(text: str) -> None:
    assert MarkupReader().push(text).text == text.lstrip("#-[ ").replace("*", "")


@pytest.mark.parametrize("end", [" ", "\n", " *", " **", " 🎉", "[", "]", "](http://x", "\\", " <"])
def test_only_what_is_undecided_is_held_back(end: str) -> None:
    reader = MarkupReader()
    assert reader.push("Hello there" + end).text == "Hello there"


def test_a_block_ends_as_soon_as_that_is_known() -> None:
    reader = MarkupReader()
    assert reader.push("# Title\n").text == "Title.\n\n"
    assert reader.push("Text\n\n").text == "Text.\n\n"
    assert reader.push("| a |\n").text == "a.\n"
    assert reader.push("```py\n").text == "\nCode block.\n\n"


def test_a_flush_lets_out_all_and_more_may_follow() -> None:
    reader = MarkupReader()
    assert reader.push("Hello *").text == "Hello"
    reading = reader.flush()
    assert (reading.text, list(reading.starts)) == (" *", [5, 6])
    assert reader.flush().text == ""
    reading = reader.push(" more")
    assert (reading.text, list(reading.starts)) == (" more", [7, 8, 9, 10, 11])


@given(
    st.lists(
        st.sampled_from(
            "I am 21, the cat's (red) hat; well-known: “so” why? yes! 5% – end.".split()
        ),
        min_size=1,
    ),
    st.sampled_from([" ", "  "]),
)
@settings(max_examples=50, deadline=None)
def test_prose_passes_as_it_is_and_at_once(words: list[str], gap: str) -> None:
    text = gap.join(["Prose", *words, "here"])
    assert MarkupReader().push(text).text == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Say **[tomato](/təmˈɑːtoʊ/)**, please.", "Say [tomato](/təmˈɑːtoʊ/), please."),
        ("# [New York](/nˈuː jˈɔːɹk/)\n", "[New York](/nˈuː jˈɔːɹk/).\n\n"),
        ("a [link](/path/to) and [b](http://c/)", "a link and b"),
        ("see [the manual](/docs/) now", "see the manual now"),
        ("[a](/b/", "a(/b/"),
    ],
)
def test_words_with_phonemes_stay_for_engines_that_read_them(text: str, kept: str) -> None:
    assert read(text, keeps_phonemes=True)[0] == kept


def test_other_engines_say_the_word() -> None:
    assert spoken("Say [tomato](/təmˈɑːtoʊ/), please.") == "Say tomato, please."


# ---------------------------------------------------------------------------------------- the laws

PIECES = [
    *["*", "**", "***", "_", "__", "~", "~~", "`", "```", "~~~", "\n", "\n\n", "\r\n", " ", "  "],
    *["#", "# ", "- ", "* ", "1. ", "2) ", "[x] ", "[", "]", "](", "(", ")", "![", "!", "|", " | "],
    *["|---|", "---", "===", "> ", ">", "<", "<b>", "<br>", "<p>", '<a href="x">', "<https://a.b>"],
    *["<!--", "-->", "&", "&amp;", "&am", "\\", "\\*", "word", "I", "5", "12", ".", ",", ":", "?"],
    *[
        "🎉",
        "👨‍👩‍👧",
        "1️⃣",
        "🇩🇪",
        "👍🏽",
        "→",
        "•",
        "·",
        "\u200d",
        "\u200c",
        "\ufe0f",
        "क्‍ष",
        "नमस्ते।",
    ],
    *[
        "你好",
        "。",
        "שלום",
        "مرحبا؟",
        "e\u0301",
        "\ud83d",
        "\ude00",
        "\t",
        "\u00a0",
        "[^1]: ",
        "[r]: ",
    ],
    *["](/", "/)", "[a](/b/)"],
    *["[1]", "-", "–", "────", '"', "”", "x" * 20, " " * 20, "-" * 70, "http://x_y_z/", "~/bin"],
]
texts = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)


@given(text=texts, data=st.data(), keeps_phonemes=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_split_gives_the_same(text: str, data: st.DataObject, *, keeps_phonemes: bool) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=4))
    whole = read(text, keeps_phonemes=keeps_phonemes)
    assert read(text, cuts=cuts, keeps_phonemes=keeps_phonemes) == whole
    assert read(text, cuts=range(1, len(text)), keeps_phonemes=keeps_phonemes) == whole


@given(texts)
@settings(max_examples=200, deadline=None)
def test_places_are_in_order_and_kept_text_is_as_given(text: str) -> None:
    said, starts, ends = read(text)
    assert len(said) == len(starts) == len(ends)
    assert starts == sorted(starts)
    assert ends == sorted(ends)
    for sign, start, end in zip(said, starts, ends, strict=True):
        assert 0 <= start <= end <= len(text)
        if end == start:
            assert sign in ".。, \n"
        if end == start + 1:
            assert text[start] == sign
    assert "\n\n\n" not in said


@given(st.lists(texts, max_size=4))
@settings(max_examples=100, deadline=None)
def test_places_stay_right_after_flushes(parts: list[str]) -> None:
    reader = MarkupReader()
    pushed = ""
    for part in parts:
        pushed += part
        for reading in (reader.push(part), reader.flush()):
            for sign, start, end in zip(reading.text, reading.starts, reading.ends, strict=True):
                assert end != start + 1 or pushed[start] == sign


def test_what_is_replaced_maps_to_what_it_stands_for() -> None:
    assert read("a\n```py\n```") == (
        "a.\n\nCode block.\n\n",
        [0, 1, 1, 2, *[2] * 11, 7, 7],
        [1, 1, 2, 2, *[7] * 11, 7, 7],
    )
    assert read("&amp;x🎉y") == ("&x y", [0, 5, 6, 7], [5, 6, 6, 8])


@pytest.mark.parametrize(
    "part",
    [
        *[
            "Hello there, my friend, it is a fine day. ",
            "# T\n\n- **a** `b` [c](http://d) 🎉\n| x |\n",
        ],
        *[
            "*",
            "_",
            "~",
            "`",
            "[",
            "](",
            "![",
            "<",
            "<a ",
            "<a:",
            "<!--",
            "&am",
            "\\",
            "|",
            "#",
            "!",
        ],
        *["\n- ", "\n", "\n```", " ", "-", "- ", "> ", "1. ", "[x]: ", "🎉", "🎉.", "[^", "<a b=c"],
        *["](" + "u" * 900, "<a b=" + "u" * 900, "<a" + ":" * 400, "x" + " " * 99],
    ],
)
def test_no_text_is_slow(part: str) -> None:
    text = (part * 10_000)[:10_000]
    for size in (5, len(text)):
        started = time.perf_counter()
        read(text, cuts=range(size, len(text), size))
        assert time.perf_counter() - started < 1.0  # below 0.1 s on a quiet machine


@pytest.mark.parametrize(
    "text", ["word " * 9000, "](" + "u" * 9000, "<!-- " + "u" * 9000, "[" * 9000]
)
def test_what_is_decided_is_not_kept(text: str) -> None:
    reader = MarkupReader()
    pushed = 0
    for start in range(0, len(text), 9):
        pushed += 9
        reader.push(text[start : start + 9])
        assert len(reader._text) <= 501  # what waits is not seen from outside
