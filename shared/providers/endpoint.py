"""Addresses of a warehouse other than its vendor's own: a private link, a proxy, a test server."""

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from shared.fields import WEB_ADDRESS


def _is_a_web_address(address: str) -> str:
    if not re.fullmatch(WEB_ADDRESS, address):
        raise ValueError("expected an address like https://warehouse.example.com:443, without user, query or fragment")
    if address.startswith("http:") and not is_this_machine(host_of(address)):
        raise ValueError("plain http would show the secret to everybody on the way; use https")
    return address


def host_of(address: str) -> str:
    """Give the host of a web address."""
    return urlsplit(address).hostname or ""


def is_this_machine(host: str) -> bool:
    """Whether what is sent to a host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


Endpoint = Annotated[str, AfterValidator(_is_a_web_address)]
