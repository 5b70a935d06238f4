"""What GDAL calls a file, and what it says of one, in words without an address."""

import re
from urllib.parse import urlsplit

REFUSED = re.compile(
    r"HTTP response code: 40[13]\b|AccessDenied|Access Denied|InvalidAccessKeyId|SignatureDoesNotMatch"
)
CUT_OFF = re.compile(r"Read failed")  # in the middle of a file GDAL does not tell a refusal from a damage
# what GDAL tries again by itself
TRIED_BY_GDAL = re.compile(r"HTTP response code: (?:429|502|503|504)\b")
CONNECTION = re.compile(r"CURL error|HTTP response code: (?:408|425|429|5\d\d)\b")
GONE = re.compile(r"No such file|HTTP response code: 404\b|does not exist|NoSuchKey|NoSuchBucket")
KEYLESS = re.compile(r"configuration options? not defined|InvalidCredentials|credentials not filled")
STRANGE = re.compile(r"not recognized as being in a supported file format")
QUOTED = re.compile(r"\b\w*(?:Error|Exception|Warning|CPLE_\w+)\((?:\d+, \d+, )?(['\"])(.*?)\1\)")
ADDRESS = re.compile(r"\S*(?:://|/vsi|\?|&\w+=)\S*")
LONGEST = 200
UNREADABLE = "cannot be read"
LOST = "could not be had from its store"


def in_words(said: str) -> str:
    """What GDAL said of a file, in the words of this package."""
    if REFUSED.search(said):
        return "is refused by its store"
    if KEYLESS.search(said):
        return "needs keys that the environment does not give (see Access and trust in the README)"
    if GONE.search(said):
        return "does not exist"
    if CONNECTION.search(said):
        return LOST
    return "is no GeoTIFF or JPEG 2000, and only these are read" if STRANGE.search(said) else UNREADABLE


def may_pass(said: str) -> bool:
    """Whether another try may help: all but what a store says on purpose, and what GDAL itself has tried again.

    Of an answer that was cut GDAL says all kinds of damage.
    """
    return not any(words.search(said) for words in (REFUSED, KEYLESS, GONE, TRIED_BY_GDAL))


def gdals_reason(said: str, place: str) -> str:
    """The innermost of the sentences of an error and its causes, without what names or signs an address."""
    names = sorted({place, gdal_name(place), urlsplit(place).path, place.rpartition("/")[2]} - {""}, key=len)
    found = ""
    for match in QUOTED.finditer(said):
        text = match[2]
        for name in reversed(names):
            text = text.replace(name, "the file")
        text = ADDRESS.sub("the file", text.replace("\\n", " "))
        text = re.sub(r"\s+", " ", text).strip(" .;,:")
        found = text or found
    return f" (GDAL: {found[:LONGEST]})" if found else ""


def gdal_name(href: str) -> str:
    """What GDAL calls an href; rasterio knows all kinds but abfs, as container@account/path or container/path."""
    if not href.startswith(("abfs://", "abfss://")):
        return href
    parts = urlsplit(href)
    return f"/vsiaz/{parts.netloc.partition('@')[0]}{parts.path}"
