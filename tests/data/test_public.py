"""Public data sets: the right file or one line, and nothing in part. No test needs a network."""

import hashlib
import http.server
import re
import threading

import pytest

import impindiff as ipd
from impindiff.data import _public
from impindiff.errors import printable

CONTENT = b"time,x,value\n0.5,1.0,2.0\n"
SHA = hashlib.sha256(CONTENT).hexdigest()
KNOWN = ipd.data.public_data_sets()


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("IMPINDIFF_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def known_at(monkeypatch, address, **files):
    """Make the registry that of one set at this address."""
    named = {name.replace("_csv", ".csv"): sha for name, sha in files.items()}
    entry = ("some", "two files", "a/b", "0" * 40, "in", "MIT", "A. Author, 2000", named)
    known = _public.PublicDataSet(*entry)
    monkeypatch.setattr(_public, "public_data_sets", lambda: {"some": known})
    monkeypatch.setattr(
        _public.PublicDataSet, "address", lambda self, file: f"{address}/{file}", raising=True
    )


@pytest.fixture
def server(tmp_path):
    """The address of a server on this machine, and the folder that it serves."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given):
            super().__init__(*given, directory=str(folder))

        def log_message(self, format, *given):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", folder
        served.shutdown()
        thread.join()


def refused(name="some"):
    with pytest.raises(ipd.InputError) as raised:
        ipd.data.fetch(name)
    message = str(raised.value)
    assert message == printable(message)
    return message


def everything_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_set_is_downloaded_once(monkeypatch, cache, server):
    address, folder = server
    (folder / "one.csv").write_bytes(CONTENT)
    known_at(monkeypatch, address, one_csv=SHA)
    assert ipd.data.fetch("some") == cache / "some"
    assert (cache / "some" / "one.csv").read_bytes() == CONTENT
    (folder / "one.csv").unlink()
    assert ipd.data.fetch("some") == cache / "some"  # from the cache
    (cache / "some" / "one.csv").write_text("spoilt")
    assert "HTTP 404" in refused()
    (folder / "one.csv").write_bytes(CONTENT)
    ipd.data.fetch("some")
    assert (cache / "some" / "one.csv").read_bytes() == CONTENT


def test_another_content_is_not_kept(monkeypatch, cache, server):
    address, folder = server
    (folder / "one.csv").write_bytes(CONTENT)
    (folder / "two.csv").write_bytes(CONTENT + b"!")
    known_at(monkeypatch, address, one_csv=SHA, two_csv=SHA)
    message = refused()
    assert f"{address}/two.csv is not the file that was expected" in message
    assert SHA[:12] in message
    assert [path.name for path in everything_in(cache)] == ["one.csv"]


def test_no_network_is_one_line(monkeypatch, cache):
    known_at(monkeypatch, "http://127.0.0.1:9", one_csv=SHA)  # nobody listens there
    message = refused()
    assert "http://127.0.0.1:9/one.csv cannot be downloaded (no network, or no answer)" in message
    assert str(cache / "some") in message
    assert not everything_in(cache)
    (cache / "some" / "one.csv").write_bytes(CONTENT)  # by hand, as it advises
    ipd.data.fetch("some")


def test_an_unknown_name_lists_those_known(cache):
    assert refused("scratch").endswith(f"expected one of {', '.join(KNOWN)}")
    assert not cache.exists()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMPINDIFF_DATA", str(tmp_path / "file"))
    known_at(monkeypatch, "http://127.0.0.1:9", one_csv=SHA)
    message = refused()
    assert "cannot be written" in message
    assert "IMPINDIFF_DATA" in message


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.delenv("IMPINDIFF_DATA", raising=False)
    monkeypatch.setenv("IMPINDIFF_CACHE", "off")
    assert "impindiff" in str(ipd.data.public_data_folder())
    monkeypatch.setenv("IMPINDIFF_CACHE", str(tmp_path))
    assert ipd.data.public_data_folder() == tmp_path / "data"
    monkeypatch.setenv("IMPINDIFF_DATA", str(tmp_path / "own"))
    assert ipd.data.public_data_folder() == tmp_path / "own"


@pytest.mark.parametrize("name", KNOWN)
def test_the_registry_is_complete(name):
    chosen = KNOWN[name]
    assert re.fullmatch(r"[0-9a-f]{40}", chosen.commit)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", chosen.repository)
    assert chosen.about
    assert chosen.citation
    assert chosen.licence in ("MIT", "EPL-2.0", "CC-BY-4.0")
    assert chosen.files
    for file, sha in chosen.files.items():
        assert re.fullmatch(r"[0-9a-f]{64}", sha)
        assert chosen.address(file) == (
            f"https://raw.githubusercontent.com/{chosen.repository}/{chosen.commit}/"
            f"{chosen.folder}/{file}"
        )


@pytest.mark.parametrize("name", KNOWN)
def test_the_files_are_those_of_the_registry(name, public_data, monkeypatch):
    folder = public_data(name)
    monkeypatch.setattr(_public.PublicDataSet, "address", lambda *_: "http://127.0.0.1:9")
    assert ipd.data.fetch(name) == folder
