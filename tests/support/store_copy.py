"""What lies in the small S3 server as a folder of this machine, as a run there leaves it."""

import json
from pathlib import Path
from typing import Any

from tests.support.bucket import Bucket


def downloaded(bucket: Bucket, prefix: str, folder: Path) -> Path:
    """Every file under a prefix, in a folder."""
    for name, content in bucket.files.items():
        if name.startswith(f"{prefix}/"):
            path = folder / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def named_plainly(folder: Path) -> Path:
    """The same folder, in which files that an update had to give another name have the one of a first run."""
    for path in (path for path in folder.glob("*/*.json") if path.stem == path.parent.name):
        item: dict[str, Any] = json.loads(path.read_text())
        for key, asset in item["assets"].items():
            plain = "flags.qml" if key == "flags_style" else f"{key}{Path(asset['href']).suffix}"
            if asset["href"] != f"./{plain}":
                (path.parent / asset["href"]).rename(path.parent / plain)
                asset["href"] = f"./{plain}"
        path.write_text(json.dumps(item))
    return folder
