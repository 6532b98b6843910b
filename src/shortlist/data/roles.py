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
KIND_WORDS: Mapping[str, str] = {  # their word for a kind of event, without punctuation: ours
    **dict.fromkeys(("view", "pv", "pageview", "detail", "watch", "seen"), "view"),
    **dict.fromkeys(("click", "clk", "open"), "click"),
    **dict.fromkeys(("rate", "rating"), "rate"),
    **dict.fromkeys(("like", "fav", "favorite", "favourite", "bookmark", "wishlist", "collect"), "like"),
    **dict.fromkeys(("cart", "addtocart", "basket"), "cart"),
    **dict.fromkeys(("buy", "purchase", "order", "transaction", "sale", "checkout"), "buy"),
    **dict.fromkeys(("hide", "dislike", "skip", "notinterested"), "hide"),
    **dict.fromkeys(("shown", "impression", "show"), "shown"),
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
