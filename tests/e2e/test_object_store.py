"""Publishing to a real S3 server, and reading back through GDAL."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import obstore
import pystac
import pytest
import rasterio
import rustac
from obstore.store import S3Store

import spaceeye_stac as se
from spaceeye_stac.errors import PublishError, TargetError
from tests.e2e import services
from tests.support.command import command, command_line
from tests.support.loopback import serving
from tests.support.servers import Process, free_port, running
from tests.support.transactions_api import SmallApi

DAYS = 120
FILES_A_DAY = 10
SECRET = "hunter22secret"  # noqa: S105 - of a server on loopback


@pytest.fixture(scope="module")
def s3(logs: Path) -> Iterator[Process]:
    with running(services.object_store(logs / "moto.log")) as process:
        yield process


_numbers = count(1)


@pytest.fixture
def bucket(s3: Process, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, with what obstore and GDAL need in the environment."""
    name = f"days-{next(_numbers)}"
    variables = {
        "AWS_ENDPOINT_URL": s3.address,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_S3_ENDPOINT": s3.address.removeprefix("http://"),
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    subprocess.run(
        [services.SERVICES / "python", "-c", MAKE_BUCKET, s3.address, name], check=True, timeout=60, env=os.environ
    )
    return name


MAKE_BUCKET = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1]).create_bucket(Bucket=sys.argv[2])"


def names(bucket: str) -> dict[str, float]:
    return {m["path"]: m["last_modified"].timestamp() for page in obstore.list(S3Store(bucket)) for m in page}


def test_upload_and_read_back(finished: Path, bucket: str, say: Callable[[str], None]) -> None:
    target = f"s3://{bucket}/some/prefix"
    start = time.monotonic()
    done = command("publish", finished, "--to", target)
    say(f"{DAYS} days to S3 in {time.monotonic() - start:.1f} s")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{target}: 120 sent; {DAYS * FILES_A_DAY} files copied" in done.stdout
    assert SECRET not in done.stdout
    for path in finished.glob("*_2018-06-1?/*.tif"):
        name = path.relative_to(finished)
        with rasterio.open(f"/vsis3/{bucket}/some/prefix/{name}") as far, rasterio.open(path) as near:
            assert np.array_equal(far.read(), near.read())
            assert far.profile == near.profile
    kind = obstore.get(S3Store(bucket), "some/prefix/field_2018-06-10/B04.tif").attributes["Content-Type"]
    assert kind == "image/tiff; application=geotiff; profile=cloud-optimized"
    again = se.publish(finished, target)
    assert (again.sent, again.files, len(again.unchanged)) == ((), 0, DAYS)


def test_public_addresses_and_the_table(finished: Path, bucket: str, s3: Process, tmp_path: Path) -> None:
    base = f"{s3.address}/{bucket}"
    se.publish(finished, f"s3://{bucket}", asset_base_url=base)
    store = S3Store(bucket)
    item = pystac.Item.from_dict(
        json.loads(bytes(obstore.get(store, "field_2018-06-10/field_2018-06-10.json").bytes()))
    )
    assert item.assets["B04"].href == f"{base}/field_2018-06-10/B04.tif"
    with rasterio.open(item.assets["B04"].href.replace(s3.address, "/vsis3")) as file:
        assert file.shape == (62, 64)
    (tmp_path / "items.parquet").write_bytes(obstore.get(store, "items.parquet").bytes())
    rows = rustac.read_sync(str(tmp_path / "items.parquet"))["features"]
    assert len(rows) == DAYS
    assert rows[0]["assets"]["B04"]["href"].startswith(base)


def test_an_interrupted_upload_goes_on_where_it_was(finished: Path, bucket: str) -> None:
    line = command_line("publish", finished, "--to", f"s3://{bucket}")
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(names(bucket)) < 200:
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1.1)  # the store ends what it was sent, and a file that were sent again would have another date
    before = names(bucket)
    assert "collection.json" not in before
    assert not [name for name in before if name.endswith(".json")], "items come after their files"
    report = se.publish(finished, f"s3://{bucket}")
    after = names(bucket)
    kept = [name for name in before if after[name] == before[name]]
    assert len(kept) == len(before)
    assert report.files == DAYS * FILES_A_DAY - len(before)
    assert len(report.sent) == DAYS


def test_large_files_go_in_parts_and_damage_is_noticed(bucket: str, tmp_path: Path, finished: Path) -> None:
    from spaceeye_stac.publishing.store import Store  # noqa: PLC0415
    from spaceeye_stac.publishing.targets import target_of  # noqa: PLC0415

    path = tmp_path / "large.tif"
    path.write_bytes(np.random.default_rng(1).bytes(20 * 2**20))
    store = Store(target_of(f"s3://{bucket}"))
    checksum = Store(target_of(tmp_path)).checksum("large.tif")
    store.write("large.tif", path, checksum)
    assert store.checksum("large.tif") == checksum
    assert str(obstore.head(S3Store(bucket), "large.tif")["e_tag"]).endswith('-3"'), "sent in three parts"
    with pytest.raises(PublishError, match=r"large\.tif does not read back as it was sent"):
        store.write("large.tif", path, "1220" + "0" * 64)
    assert names(bucket) == {}
    se.publish(finished, f"s3://{bucket}")
    name = "field_2018-06-10/B04.tif"
    obstore.put(S3Store(bucket), name, b"cut")
    assert se.publish(finished, f"s3://{bucket}").files == 1
    assert obstore.head(S3Store(bucket), name)["size"] == (finished / name).stat().st_size


def test_assets_to_a_store_and_items_to_an_api(finished: Path, bucket: str) -> None:
    with serving(SmallApi()) as api:
        done = command("publish", finished, "--to", api.url, "--assets-to", f"s3://{bucket}/files")
        assert done.returncode == 0, done.stderr
        href = api.items["field_2018-06-10"]["assets"]["B04"]["href"]
        assert href == f"s3://{bucket}/files/field_2018-06-10/B04.tif"
        with rasterio.open(href.replace("s3://", "/vsis3/")) as file:
            assert file.shape == (62, 64)


def test_withdrawn(finished: Path, bucket: str) -> None:
    se.publish(finished, f"s3://{bucket}/a")
    obstore.put(S3Store(bucket), "b/kept.txt", b"kept")
    assert len(se.unpublish("field", f"s3://{bucket}/a").removed) == DAYS
    assert list(names(bucket)) == ["b/kept.txt"]


def test_strangers_and_wrong_addresses(finished: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    obstore.put(S3Store(bucket), "photos/cat.png", b"cat")
    with pytest.raises(TargetError, match="holds 'photos', which is no part of field"):
        se.publish(finished, f"s3://{bucket}", overwrite=True, prune=True)
    assert list(names(bucket)) == ["photos/cat.png"]
    done = command("publish", finished, "--to", "s3://no-such-bucket/x")
    assert done.returncode == 2, done.stderr
    assert "s3://no-such-bucket/x cannot be used" in done.stderr
    assert SECRET not in done.stderr
    with serving(SmallApi(header=("Authorization", "right"), refusal=403)) as refusing:
        monkeypatch.setenv("AWS_ENDPOINT_URL", refusing.url)
        done = command("publish", finished, "--to", f"s3://{bucket}")
    assert done.returncode == 2
    assert f"s3://{bucket} refuses access" in done.stderr
    assert SECRET not in done.stderr
    assert "AWS4" not in done.stderr
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr("spaceeye_stac.publishing.store.RETRIES", 1)
    with pytest.raises(PublishError, match="error sending request"):
        se.publish(finished, f"s3://{bucket}")
