"""How English is read aloud: money, dates, times, units, telephones, addresses, and so on.

American and British English differ in dates: 4/5/2026 is the fifth of April in one and the fourth
of May in the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from voiced.reading.aloud import Rule, rule
from voiced.reading.english_words import (
    ABBREVIATIONS,
    CURRENCIES,
    DAYS,
    DECADES,
    FRACTIONS,
    LARGE,
    MONTH_OF,
    MONTHS,
    MOST_DAYS,
    NUMERATORS,
    SHARE_WORD,
    SHORT_MONTHS,
    TELEPHONE_WORD,
    TITLES,
    UNIT,
    UNITS,
    VULGAR,
)

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
_BEFORE = r"(?<![\w.,/:-])"  # not within a word, a longer number or an address
_AFTER = r"(?![\w]|[.,:/-]\d)"


def _is_one(number: str) -> bool:
    return number.lstrip("-−") == "1"


def _stop(match: re.Match[str]) -> str:
    """Return the full stop that ends a sentence, too, besides what is abbreviated."""
    is_last = re.match(r"\s*$|\s+[A-Z\"“]", match.string[match.end() :])
    return "." if match[0].endswith(".") and is_last else ""


def _ordinal(day: int) -> str:
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _date(day: int, month: int, year: str, *, is_american: bool) -> str | None:
    """Say a date, if there is one."""
    if not (1 <= month <= 12 and 1 <= day <= MOST_DAYS[month - 1]):
        return None
    name = MONTHS[month - 1]
    if is_american:
        return f"{name} {_ordinal(day)}, {year}" if year else f"{name} {_ordinal(day)}"
    return f"the {_ordinal(day)} of {name} {year}".rstrip()


# ------------------------------------------------------------------------------------- addresses


@rule(
    r"\bhttps?://(?:www\.)?(?P<host>[\w.-]+\w)(?::\d+)?(?P<path>/[\w./~%-]*\w)?(?:[/?#][^\s)>\]]*)?"
)
def _web(match: re.Match[str]) -> str:
    """Say a web address without what nobody says, and no more than a short path."""
    path = match["path"] or ""
    said = match["host"].replace(".", " dot ")
    return said + path.replace("/", " slash ") if 0 < len(path) <= 20 else said


@rule(r"(?<![\w@./-])www\.(?P<host>[\w.-]+\w)")
def _www(match: re.Match[str]) -> str:
    return match["host"].replace(".", " dot ")


@rule(r"(?<![\w.+-])(?P<name>[\w.+-]+)@(?P<host>[\w-]+(?:\.[\w-]+)+)")
def _mail(match: re.Match[str]) -> str:
    said = f"{match['name']} at {match['host']}"
    for sign, word in ((".", "dot"), ("_", "underscore"), ("-", "dash"), ("+", "plus")):
        said = said.replace(sign, f" {word} ")
    return said


@rule(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.]\d)")
def _ip_address(match: re.Match[str]) -> str:
    return match[0].replace(".", " dot ")


@rule(
    r"""(?<![\w.,-])
    (?: 1[.-]\d{3}[.-]\d{3}[.-]\d{4}
      | \+\d{1,3}[ .-]? (?:\(0?\d{1,4}\)[ .-]?)? \d{1,4} (?:[ .-]\d{2,4}){1,4}
      | \(\d{3,5}\)[ .-]? \d{3,4} [ .-] \d{3,4}
      | \d{3} [.-] \d{3} [.-] \d{4}
      | 0\d{2,4} [ ] \d{3,4} [ ] \d{3,4} )
    (?![\w-]|[.,]\d)"""
)
def _telephone(match: re.Match[str]) -> str | None:
    groups = re.findall(r"\+|\d+", match[0])
    if match[0][0] == "+" and len("".join(groups)) < 8:
        return None  # "+10.50"
    said = ["plus" if group == "+" else " ".join(group) for group in groups]
    return ", ".join(said).replace("plus, ", "plus ")


# ------------------------------------------------------------------------------------------ money


@rule(
    rf"""(?P<minus>(?<![\w-])[-−])? (?<![\w$/])
    (?P<sign>US\$|[$£€¥₹₩₽]|(?:USD|GBP|EUR|CHF)[ ]) [ ]? (?P<number>{_NUMBER})
    (?: [ ]?(?P<large>million|billion|trillion|thousand)\b | [ ]?(?P<short>[mbt]n)\b
      | (?P<letter>[kKmMbB])\b )?
    (?! \w | [.,]\d )""",
)
def _money(match: re.Match[str]) -> str:
    return _amount(match["number"], match["sign"].strip(), _large(match), match["minus"])


@rule(
    rf"""(?<![\w$/-]) (?P<sign>[$£€]) (?P<from>{_NUMBER}) [ ]?[-–][ ]? (?P=sign)? (?P<to>{_NUMBER})
    (?: [ ]?(?P<large>million|billion|trillion|thousand)\b | [ ]?(?P<short>[mbt]n)\b
      | (?P<letter>[kKmMbB])\b )? (?! \w | [.,-]\d )"""
)
def _money_range(match: re.Match[str]) -> str:
    last = _amount(match["to"], match["sign"], _large(match), None)
    return f"{match['from'].replace(',', '')} to {last}"


@rule(
    rf"""(?P<minus>(?<![\w-])[-−])? (?<![\w.,$£€-]) (?P<number>{_NUMBER})
    (?: [ ](?P<large>million|billion|trillion|thousand) | (?P<short>[kKmM]|[mbt]n|[bB]) )?
    [ ]? (?P<sign>[€£₽]|\b(?:USD|GBP|EUR|CHF)\b)"""
)
def _money_after(match: re.Match[str]) -> str:
    return _amount(match["number"], match["sign"], _large(match), match["minus"])


def _large(match: re.Match[str]) -> str:
    found = match.groupdict()
    return found["large"] or LARGE.get((found["short"] or found.get("letter") or "").lower(), "")


def _amount(number: str, sign: str, large: str, minus: str | None) -> str:
    one, several, part, parts = CURRENCIES[sign]
    plain = number.replace(",", "")
    whole, _, fraction = plain.partition(".")
    said = f"{plain} {several}"
    if large:
        said = f"{plain} {large} {several}"
    elif len(fraction) == 2 and part:
        cents = f"{int(fraction)} {part if int(fraction) == 1 else parts}" if int(fraction) else ""
        wholes = f"{whole} {one if whole == '1' else several}" if int(whole) or not cents else ""
        said = " ".join(filter(None, (wholes, cents)))
    elif not fraction:
        said = f"{whole} {one if whole == '1' else several}"
    return f"minus {said}" if minus else said


# ------------------------------------------------------------------------------- dates and times


def _iso_date(match: re.Match[str], *, is_american: bool) -> str | None:
    year, month, day = match["year"], int(match["month"]), int(match["day"])
    return _date(day, month, year, is_american=is_american)


def _numeric_date(match: re.Match[str], *, is_american: bool) -> str | None:
    first, second, year = int(match["first"]), int(match["second"]), match["year"]
    day, month = (second, first) if is_american else (first, second)
    # A day that cannot be a month tells which is which, whatever is usual.
    return _date(day, month, year, is_american=is_american) or _date(
        month, day, year, is_american=is_american
    )


def _month_and_day(match: re.Match[str], *, is_american: bool) -> str | None:
    month = MONTHS.index(MONTH_OF.get(match["month"], match["month"])) + 1
    return _date(int(match["day"]), month, match["year"] or "", is_american=is_american)


@rule(rf"\b(?P<month>{SHORT_MONTHS})\b\.?(?=[ ]\d{{4}}\b)")
def _month(match: re.Match[str]) -> str:
    return MONTH_OF[match["month"]]


@rule(
    rf"""(?<!the[ ]) \b(?P<day>{"|".join(sorted(DAYS, key=len, reverse=True))})\b\.?
    (?= ,[ ](?:\d|[A-Z][a-z]+[ ]\d)
      | [ ]\d{{1,2}} (?: :\d\d | [ ]?[aApP]\.?[mM] | (?:st|nd|rd|th)\b
        | [ ](?:{"|".join(MONTHS)}|{SHORT_MONTHS})\b ) )"""
)
def _day(match: re.Match[str]) -> str:
    return DAYS[match["day"]]


@rule(
    r"""(?: (?<![\w:.,-]) | (?<=\d:\d\d-) ) (?P<hour>[01]?\d|2[0-4])
    : (?P<minute>[0-5]\d) (?: :(?P<second>[0-5]\d) )?
    (?P<half> [ ]?[aApP]\.?[mM]\b\.? )? (?![\d:]|\.\d)"""
)
def _time(match: re.Match[str]) -> str:
    hour, minute = int(match["hour"]), int(match["minute"])
    half = ""
    if match["half"]:
        half = (" a m" if match["half"].strip()[0] in "aA" else " p m") + _stop(match)
    if match["second"]:
        parts = [f"{hour} hours" if hour != 1 else "1 hour"] if hour else []
        parts += [f"{minute} minutes" if minute != 1 else "1 minute"] if minute else []
        second = int(match["second"])
        parts += [f"{second} seconds" if second != 1 else "1 second"] if second else []
        return " ".join(parts or ["0 seconds"]) + half
    if minute == 0:
        return (
            f"{hour}{half}" if half else f"{hour} o'clock" if 0 < hour <= 12 else f"{hour} hundred"
        )
    said = f"oh {minute}" if minute < 10 else str(minute)
    return f"{hour or 'zero'} {said}{half}"


@rule(r"(?<=\d:\d\d)[ ]?[-–][ ]?(?=\d{1,2}:\d\d)")
def _until(_match: re.Match[str]) -> str:
    return " to "


@rule(
    r"""(?<![\w:.,-]) (?P<from>1[0-2]|[1-9]) [ ]?[-–][ ]? (?P<to>1[0-2]|[1-9])
    [ ]? (?P<half>[aApP])\.?[mM]\b\.?"""
)
def _hours(match: re.Match[str]) -> str:
    return f"{match['from']} to {match['to']} {match['half'].lower()} m{_stop(match)}"


@rule(
    r"""(?<![\w.,]) (?: (?P<h>\d{1,3})[ ]?h[ ]? )? (?P<m>\d{1,2})[ ]?m(?:in)?
    (?: [ ]?(?P<s>\d{1,2})[ ]?s )? (?!\w)"""
)
def _duration(match: re.Match[str]) -> str | None:
    if not (match["h"] or match["s"]):
        return None  # metres, or minutes
    parts = ((match["h"], "hour"), (match["m"], "minute"), (match["s"], "second"))
    said = [f"{int(n)} {unit}{'' if int(n) == 1 else 's'}" for n, unit in parts if n]
    return " ".join(said)


@rule(r"\b(?P<hour>1[0-2]|[1-9])[ ]?(?P<half>[aApP])\.?[mM]\b\.?")
def _hour(match: re.Match[str]) -> str:
    return f"{match['hour']} {match['half'].lower()} m{_stop(match)}"


@rule(r"\b(?P<century>1[0-9]|20)(?P<decade>[2-9]0)['’]?s\b")
def _decade(match: re.Match[str]) -> str:
    return f"{match['century']} {DECADES[match['decade']]}"


@rule(r"(?<=\b(?:the|her|his|ies)[ ])(?P<decade>[2-9]0)s\b")
def _bare_decade(match: re.Match[str]) -> str:
    return DECADES[match["decade"]]


@rule(r"\b(?P<century>1[1-9])00s\b")
def _century(match: re.Match[str]) -> str:
    return f"{match['century']} hundreds"


@rule(r"(?<!\w)['’](?P<decade>[2-9]0)s\b")
def _short_decade(match: re.Match[str]) -> str:
    return DECADES[match["decade"]]


# -------------------------------------------------------------------------------------- quantities


@rule(
    rf"""{_BEFORE}(?P<minus>[-−])?(?P<number>{_NUMBER})(?P<vulgar>[½¼¾])?
    (?: [ ]?(?P<unit>{UNIT}) )(?![\w²³/°]|-[a-z])"""
)
def _quantity(match: re.Match[str]) -> str | None:
    number, unit = match["number"], match["unit"]
    if unit in ("m", "g", "l", "s", "h", "V", "W", "L", "min") and "," in number:
        return None  # "1,000 m" may be money or people
    if unit == "s" and match[0][-2].isdigit() and "." not in number:
        return None  # "the 80s"
    one, several = UNITS[unit]
    vulgar = f" and {VULGAR[match['vulgar']]}" if match["vulgar"] else ""
    said = f"{number.replace(',', '')}{vulgar} {one if _is_one(number) and not vulgar else several}"
    return f"minus {said}" if match["minus"] else said


@rule(
    rf"""{_BEFORE} (?P<minus>[-−])? (?P<from>{_NUMBER}) (?: [ ]?(?:{UNIT}) )? [ ]?[-–][ ]?
    (?P<to>{_NUMBER}) (?P<rest> [ ]?(?:{UNIT}) ) (?![\w²³/°])"""
)
def _quantity_range(match: re.Match[str]) -> str:
    several = UNITS[match["rest"].strip()][1]
    said = f"{match['from']} to {match['to']} {several}"
    return f"minus {said}" if match["minus"] else said


@rule(r"(?<![\w.,/:-])(?P<from>\d{1,4})[-–](?P<to>\d{1,4})(?P<percent>%)?(?![\w/:]|[.,-]\d|-\w)")
def _range(match: re.Match[str]) -> str | None:
    first, second = match["from"], match["to"]
    before = match.string[: match.start()]
    if len(first) == 3 and len(second) == 4 and TELEPHONE_WORD.search(before):
        return f"{' '.join(first)}, {' '.join(second)}"
    is_name = len(first) > 2 and re.search(r"[A-Z]\w*[ ]$", before)  # "Boeing 737-800"
    if is_name or int(first) >= int(second):
        return None
    return f"{first} to {second}{' percent' if match['percent'] else ''}"


@rule(r"""(?<!\w)(?P<feet>[1-9])['’′][ ]?(?P<inches>1[01]|\d)(?:["”″]|['’′]{2})""")
def _height(match: re.Match[str]) -> str:
    return f"{match['feet']} foot {match['inches']}"


@rule(
    rf"""{_BEFORE} (?!0x) (?P<a>{_NUMBER}) [ ]?[x×][ ]? (?P<b>{_NUMBER})
    (?: [ ]?[x×][ ]? (?P<c>{_NUMBER}) )? (?!\w)"""
)
def _dimensions(match: re.Match[str]) -> str:
    return " by ".join(filter(None, match.group("a", "b", "c")))


@rule(r"(?<![\w./-])(?P<whole>\d+[ ])?(?P<top>[1-9])/(?P<bottom>2|3|4|5|8|10)(?![\w/]|\.\d)")
def _fraction(match: re.Match[str]) -> str | None:
    top, bottom = int(match["top"]), int(match["bottom"])
    if SHARE_WORD.search(match.string[: match.start()]):
        return f"{top} of {bottom}"
    if top >= bottom:
        return None
    one, several = FRACTIONS[bottom]
    said = f"{NUMERATORS[top]} {one if top == 1 else several}"
    if match["whole"]:
        said = said.replace("one ", "an " if bottom == 8 else "a ") if top == 1 else said
        return f"{match['whole'].strip()} and {said}"
    return said


@rule(r"(?<!\d)(?P<whole>\d+)[ ]?(?P<vulgar>[½¼¾⅓⅔⅛])")
def _mixed(match: re.Match[str]) -> str:
    return f"{match['whole']} and {VULGAR[match['vulgar']]}"


@rule(r"(?<![\w/])24/7(?![\w/])")
def _always(_match: re.Match[str]) -> str:
    return "24 7"


@rule(r"(?<![\w:.])(?P<a>\d{1,2}):(?P<b>\d)(?![\d:])")
def _ratio(match: re.Match[str]) -> str:
    return f"{match['a']} to {match['b']}"


@rule(r"(?<!\w)~[ ]?(?=[\d$£€])")
def _about(_match: re.Match[str]) -> str:
    return "about "


@rule(r"(?<![\w&#/])\#(?=\d)|\b[Nn]os?\.[ ](?=\d)|№[ ]?(?=\d)")
def _number_sign(_match: re.Match[str]) -> str:
    return "number "


@rule(r"\bv(?=\d+\.\d)")
def _version(_match: re.Match[str]) -> str:
    return "version "


# ------------------------------------------------------------------------------------- short words


@rule(rf"\b(?P<word>{'|'.join(sorted(ABBREVIATIONS, key=len, reverse=True))})\.(?=[ ]\S|$)")
def _abbreviation(match: re.Match[str]) -> str:
    stop = "" if match["word"] in TITLES else _stop(match)
    return ABBREVIATIONS[match["word"]] + stop


@rule(r"\bvs\b(?!\.)")
def _versus(_match: re.Match[str]) -> str:
    return "versus"


@rule(r"\bw/o(?=[ ]\w)|\bw/(?=[ ]\w)")
def _with(match: re.Match[str]) -> str:
    return "without" if match[0] == "w/o" else "with"


def _rules(*, is_american: bool) -> tuple[Rule, ...]:
    def date(pattern: str, say: Callable[..., str | None]) -> Rule:
        return rule(pattern)(partial(say, is_american=is_american))

    months = rf"(?P<month>{'|'.join(MONTHS)}|{SHORT_MONTHS})\b\.?"
    day = r"(?P<day>[12]\d|3[01]|0?[1-9])(?:st|nd|rd|th)?"
    year = r"(?:,?[ ](?P<year>[12]\d{3})\b)?"
    counted = r"(?!\w|[.,:]\d|%|[-–]\d|[ ](?:[a-z]|\d))"  # "In March 20 people came"
    before = r"(?<![\w.,/:-])(?:the[ ])?"
    return (
        _web,
        _www,
        _mail,
        date(
            rf"{_BEFORE}(?P<year>[12]\d{{3}})-(?P<month>[01]\d)-(?P<day>[0-3]\d){_AFTER}", _iso_date
        ),
        date(
            rf"{_BEFORE}(?P<first>\d{{1,2}})/(?P<second>\d{{1,2}})/(?P<year>[12]\d{{3}}){_AFTER}",
            _numeric_date,
        ),
        _telephone,
        _ip_address,
        date(rf"\b{months}[ ](?:{day},?[ ](?P<year>[12]\d{{3}})\b)", _month_and_day),
        date(rf"\b{months}[ ]{day}(?P<year>){counted}", _month_and_day),
        date(rf"{before}{day}[ ]{months}{year}", _month_and_day),
        _month,
        _day,
        _money_range,
        _money,
        _money_after,
        _until,
        _time,
        _hours,
        _hour,
        _duration,
        _decade,
        _short_decade,
        _bare_decade,
        _century,
        _quantity_range,
        _quantity,
        _range,
        _height,
        _dimensions,
        _always,
        _fraction,
        _mixed,
        _ratio,
        _about,
        _number_sign,
        _version,
        _abbreviation,
        _versus,
        _with,
    )


AMERICAN = _rules(is_american=True)
BRITISH = _rules(is_american=False)
