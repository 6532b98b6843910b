"""The words by which people call the columns that matter, so that a header and its roles can be recognised."""

from __future__ import annotations

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, ...]] = {
    "user": ("user", "userid", "uid", "customer", "customerid", "member", "memberid", "visitorid", "reader", "account"),
    "item": (
        *(
            "item",
            "itemid",
            "iid",
            "sid",
            "movie",
            "movieid",
            "animeid",
            "animeids",
            "product",
            "productid",
            "sku",
            "asin",
        ),
        *("book", "bookid", "isbn", "song", "songid", "track", "trackid", "article", "articleid", "film", "filmid"),
        *("adgroupid", "businessid", "gameid", "videoid", "content", "contentid"),
    ),
    "value": ("rating", "ratings", "score", "stars", "value", "feedback", "overall", "amount"),
    "time": ("time", "timestamp", "date", "datetime", "ts", "createdat", "eventtime", "when", "timest"),
    "kind": ("event", "eventtype", "kind", "type", "action", "behavior", "behaviour", "btag"),
    "id": ("eventid",),
}
FACTS = frozenset(
    (
        "id",
        "title",
        "name",
        "genre",
        "genres",
        "tags",
        "category",
        "price",
        "age",
        "gender",
        "sex",
        "occupation",
        "zip",
        "brand",
    )
)
ALL = FACTS.union(*WORDS.values())


def plain(name: str) -> str:
    """A column name without case, punctuation or RecBole's type: "User_ID" and "user_id:token" -> userid."""
    return "".join(letter for letter in name.partition(":")[0].lower() if letter.isalnum())
