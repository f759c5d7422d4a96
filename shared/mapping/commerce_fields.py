"""What a commerce event may hold: products, what was done with them, promotions and impressions.

Source: mParticle's JSON Schema of the Events API (mparticle.inbound.eventsapi.schema.json), ``CommerceEvent``.
"""

from typing import Final

from shared.mapping.destinations import ValueType
from shared.mapping.tree import Entries, Field, Group, Keys, Node

_TEXT: Final = Field(ValueType.TEXT)
_NUMBER: Final = Field(ValueType.NUMBER)
_INTEGER: Final = Field(ValueType.INT64)

CUSTOM_EVENT_TYPES: Final = (
    "navigation",
    "location",
    "search",
    "transaction",
    "user_content",
    "user_preference",
    "social",
    "other",
    "media",
)
_COMMERCE_EVENT_TYPES: Final = (
    *CUSTOM_EVENT_TYPES,
    "add_to_cart",
    "remove_from_cart",
    "checkout",
    "checkout_option",
    "click",
    "view_detail",
    "purchase",
    "refund",
    "promotion_view",
    "promotion_click",
    "add_to_wishlist",
    "remove_from_wishlist",
    "impression",
    "attribution",
    "consent_granted",
    "consent_denied",
)
_PRODUCT_ACTIONS: Final = (
    "add_to_cart",
    "remove_from_cart",
    "checkout",
    "checkout_option",
    "click",
    "view_detail",
    "purchase",
    "refund",
    "add_to_wishlist",
    "remove_from_wish_list",
)
"""The last one is spelled as mParticle spells it."""

PRODUCTS: Final = Entries(
    Group(
        {
            "id": _TEXT,
            "name": _TEXT,
            "brand": _TEXT,
            "category": _TEXT,
            "variant": _TEXT,
            "position": _INTEGER,
            "price": _NUMBER,
            "quantity": _NUMBER,
            "coupon_code": _TEXT,
            "added_to_cart_time_ms": Field(ValueType.EPOCH_MS),
            "total_product_amount": _NUMBER,
            "custom_attributes": Keys(_TEXT),
        }
    )
)

COMMERCE: Final[dict[str, Node]] = {
    "product_action": Group(
        {
            "action": Field(ValueType.CHOICE, _PRODUCT_ACTIONS),
            "checkout_step": _INTEGER,
            "checkout_options": _TEXT,
            "product_action_list": _TEXT,
            "product_list_source": _TEXT,
            "transaction_id": _TEXT,
            "affiliation": _TEXT,
            "total_amount": _NUMBER,
            "tax_amount": _NUMBER,
            "shipping_amount": _NUMBER,
            "coupon_code": _TEXT,
            "products": PRODUCTS,
        },
        required=("action",),
    ),
    "promotion_action": Group(
        {
            "action": Field(ValueType.CHOICE, ("view", "click")),
            "promotions": Entries(Group({"id": _TEXT, "name": _TEXT, "creative": _TEXT, "position": _TEXT})),
        },
        required=("action",),
    ),
    "product_impressions": Entries(
        Group(
            {"product_impression_list": _TEXT, "products": PRODUCTS}, required=("product_impression_list", "products")
        )
    ),
    "shopping_cart": Group({"products": PRODUCTS}, required=("products",)),
    "currency_code": _TEXT,
    "screen_name": _TEXT,
    "is_non_interactive": Field(ValueType.BOOLEAN),
    "event_name": _TEXT,
    "custom_event_type": Field(ValueType.CHOICE, _COMMERCE_EVENT_TYPES),
    "custom_flags": Keys(Field(ValueType.SCALAR)),
}
COMMERCE_NEEDS_ONE_OF: Final = ("product_action", "promotion_action", "product_impressions")
"""A shopping cart alone tells of nothing that happened. Source: mParticle, "JSON Reference", commerce events."""
