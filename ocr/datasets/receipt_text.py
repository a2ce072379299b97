"""What a synthetic receipt says: names, goods and sums that add up. Strings only, from a seeded generator."""

import random
from dataclasses import dataclass

_SYLLABLES = (
    "BA", "BON", "CAR", "DEL", "FER", "GAR", "HO", "JAY", "KIM", "LEE", "LO", "MAR", "MEI", "NOR", "OH", "PAN", "PER",
    "RI", "SAN", "SUN", "TAN", "TI", "VER", "WAN", "YU", "ZEN",
)  # fmt: skip
_TRADES = (
    "MART", "BAKERY", "CAFE", "HARDWARE", "RESTAURANT", "STATIONERY", "PHARMACY", "TRADING", "SUPERMARKET",
    "NOODLE HOUSE", "PETROL STATION", "BOOK STORE",
)  # fmt: skip
_LEGAL = ("SDN BHD", "LTD", "INC.", "& SONS", "CO.", "ENTERPRISE", "GROUP")
_STREETS = ("JALAN", "LORONG", "MAIN ST", "PARK ROAD", "HIGH STREET", "STATION RD", "TAMAN", "HARBOUR AVE")
_TOWNS = ("JOHOR BAHRU", "SHAH ALAM", "SPRINGFIELD", "NEWTOWN", "KLANG", "SEOUL", "LEEDS", "PORT ELLEN", "MELAKA")
_GOODS = (
    "MILK", "BREAD", "RICE", "COFFEE", "TEA", "EGGS", "SUGAR", "NOODLES", "CHICKEN", "SALMON", "APPLE", "ORANGE JUICE",
    "BATTERY AA", "TAPE", "A4 PAPER", "PAINT", "SCREW", "SOAP", "SHAMPOO", "TISSUE", "KIMCHI", "BEEF", "TOMATO",
    "CHEESE", "ICE CREAM", "WATER", "PETROL RON95", "PEN BLUE", "CAKE",
)  # fmt: skip
_KINDS = ("FRESH", "ORGANIC", "LARGE", "SMALL", "500G", "1KG", "250ML", "1.5L", "X2", "(S)", "SET", "A", "W/ CHEESE")
_TITLES = ("TAX INVOICE", "RECEIPT", "CASH SALES", "INVOICE", "SIMPLIFIED TAX INVOICE")
_FOOTERS = (
    "THANK YOU, PLEASE COME AGAIN", "THANK YOU FOR SHOPPING WITH US", "GOODS SOLD ARE NOT RETURNABLE",
    "PLEASE KEEP THIS RECEIPT", "EXCHANGE WITHIN 7 DAYS WITH RECEIPT", "Have a nice day!", "www.shop-online.com",
    "Follow us on social media", "CUSTOMER COPY",
)  # fmt: skip

Pair = tuple[str, str]
"""What stands on the left of a line and what on its right; either may be empty."""


@dataclass(frozen=True)
class Item:
    """One thing sold: a code, a name, how many, and the price of one in cents."""

    code: str
    name: str
    count: int
    price: int

    @property
    def amount(self) -> int:
        """Cents for all of them."""
        return self.count * self.price


def shop_name(rng: random.Random) -> str:
    """Return the line in large letters at the top."""
    return f"{_name(rng)} {rng.choice(_TRADES)}"


def address(rng: random.Random) -> list[str]:
    """Return two to six lines: owner, street, town, telephone, tax and register numbers."""
    lines = [
        f"{_name(rng)} {rng.choice(_LEGAL)}",
        f"NO.{rng.randint(1, 250)}, {rng.choice(_STREETS)} {_name(rng)} {rng.randint(1, 30)},",
        f"{digits(rng, 5)} {rng.choice(_TOWNS)}.",
        f"TEL: {digits(rng, 2)}-{digits(rng, 4)} {digits(rng, 4)}",
        f"GST ID: {digits(rng, 12)}",
        f"CO. REG. ({digits(rng, 6)}-{rng.choice('KTVX')})",
    ]
    return lines[: rng.randint(2, 6)]


def title(rng: random.Random) -> str:
    """Return what the paper calls itself."""
    return rng.choice(_TITLES)


def details(rng: random.Random) -> list[Pair]:
    """Return two to four lines of date, time, number, cashier or table."""
    date = f"{rng.randint(1, 28):02d}/{rng.randint(1, 12):02d}/{rng.randint(2015, 2026)}"
    time = f"{rng.randint(8, 22)}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}"
    when = rng.choice([(f"Date: {date}", f"Time: {time}"), (date, time), (f"{date} {time}", "")])
    others = [
        (f"Invoice No: {digits(rng, 8)}", ""),
        (f"Cashier: {_name(rng).title()}", f"Till {rng.randint(1, 9)}"),
        (f"Table: {rng.randint(1, 40)}", f"Pax: {rng.randint(1, 9)}"),
        (f"Member: {digits(rng, 6)}", f"Pts {rng.randint(0, 900)}"),
    ]
    chosen = [when, *rng.sample(others, rng.randint(1, 3))]
    rng.shuffle(chosen)
    return chosen


def item(rng: random.Random) -> Item:
    """Return one thing sold."""
    name = f"{rng.choice(_GOODS)} {rng.choice(_KINDS)}"
    return Item(digits(rng, 8), name, rng.choice((1, 1, 1, 2, 2, 3, 4, 6, 12)), rng.randint(50, 9000))


def totals(rng: random.Random, sum_of_items: int) -> tuple[list[Pair], Pair, list[Pair]]:
    """Return the lines before the total, the total, and how it was paid; the sums are right."""
    rate, label = rng.choice(((6, "GST 6%"), (10, "SERVICE CHARGE 10%"), (20, "VAT 20%"), (0, "TAX ZRL 0%")))
    tax = round(sum_of_items * rate / 100)
    total = round((sum_of_items + tax) / 5) * 5
    before = [
        ("SUBTOTAL", money(sum_of_items)),
        (label, money(tax)),
        ("ROUNDING ADJ.", money(total - sum_of_items - tax)),
    ]
    kept = [pair for pair in before if rng.random() < 0.8]
    currency = rng.choice(("RM ", "$", "", "EUR "))
    if rng.random() < 0.4:
        return kept, ("TOTAL", currency + money(total)), [(rng.choice(("VISA CARD", "PAID", "DEBIT")), money(total))]
    paid = -(-total // 1000) * 1000
    return kept, ("TOTAL", currency + money(total)), [("CASH", money(paid)), ("CHANGE", money(paid - total))]


def footers(rng: random.Random) -> list[str]:
    """Return one to three lines of small print."""
    return rng.sample(_FOOTERS, rng.randint(1, 3))


def digits(rng: random.Random, count: int) -> str:
    """Return ``count`` decimal digits."""
    return "".join(rng.choice("0123456789") for _ in range(count))


def money(cents: int) -> str:
    """Return cents as an amount with two decimals: 123456 is ``1,234.56``."""
    return f"{cents / 100:,.2f}"


def _name(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3)))
