"""Tests of the doctor's findings about servers that answer, refuse, lie, crawl or do not exist. The server is a local
one."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from pipeline import csv_file, files
from pipeline.acquire.sources import COLUMNS
from pipeline.doctor import answers, case, network, present
from pipeline.layout import Layout
from pipeline.manifests import describe

BODY = b"x" * 100


class Handler(BaseHTTPRequestHandler):
    """Answers a path as its name says, and keeps the requests."""

    def do_HEAD(self):
        self.answer("HEAD")

    def do_GET(self):
        self.answer("GET")

    def answer(self, method):
        self.server.asked.append((method, self.path, self.headers.get("Range")))
        kind = self.path.strip("/").partition("-")[0]
        if kind == "slow":
            time.sleep(0.3)
        if kind == "hangs":
            time.sleep(2)
        status = {"gone": 404, "busy": 503, "teapot": 418}.get(kind, 200)
        if kind in ("nohead", "drive") and method == "HEAD":
            status = 405
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/file-elsewhere")
            self.end_headers()
            return
        ranged = method == "GET" and status == 200 and kind == "nohead"
        self.send_response(206 if ranged else status)
        if kind == "busy":
            self.send_header("Retry-After", "120")
        if kind in ("page", "drive"):
            self.send_header("Content-Type", "text/html")
        if ranged:
            self.send_header("Content-Range", f"bytes 0-0/{len(BODY)}")
        self.send_header("Content-Length", "1" if ranged else "7" if kind == "other" else str(len(BODY)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(BODY[:1] if ranged else BODY)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def made(server, tmp_path, monkeypatch):
    """Make a case whose one prediction file has these addresses: kinds of answer, or whole addresses."""
    monkeypatch.chdir(tmp_path)
    for name in network.PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    host = f"http://127.0.0.1:{server.server_address[1]}"

    def make(*kinds, links=True, file="p.jsonl", local=(), n_bytes="100"):
        urls = [kind if "://" in kind else f"{host}/{kind}-{n}" for n, kind in enumerate(kinds)]
        rows = [["predictions", "file", file, url, "", n_bytes, "", ""] for url in urls]
        rows.append(["notes", "file", "n.jsonl", f"{host}/file", "", "", "", ""])
        csv_file.write(Path("sources.csv"), COLUMNS, rows)
        config = {
            "acquire": {"sources": "sources.csv", "local": list(local), "timeout_s": 1},
            "datasets": {"qvhighlights": {"annotations": {"val": "notes"}}},
            "training": {"qvhighlights": {}},
            "experiments": {"e": {"dataset": "qvhighlights", "source": "predictions",
                                  "predictions": {"val": "predictions"}}},
        }  # fmt: skip
        with files.atomic("config.yaml") as out:
            yaml.safe_dump(config, out)
        asked = case.read(case.Invocation(target="experiment_e", links=links))
        assert asked.refused is None, asked.refused
        return asked

    return make


def found_by(asked):
    return {(finding.check, finding.level): finding for finding in network.check(asked)}


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/file"


def test_links_that_live_are_counted_and_noted_down(made, server):
    asked = made("file")
    found = found_by(asked)
    assert list(found) == [("links", "ok")]
    assert found["links", "ok"].what == "2 of 2 addresses of 2 sources answer"
    assert {method for method, _, _ in server.asked} == {"HEAD"}
    assert len(network.last_seen(asked.layout)) == 2


def test_a_server_that_refuses_head_is_asked_for_one_byte(made, server):
    found = found_by(made("nohead"))
    assert list(found) == [("links", "ok")]
    assert [(method, span) for method, path, span in server.asked if "nohead" in path] == [
        ("HEAD", None),
        ("GET", "bytes=0-0"),
    ]


def test_an_address_that_moved_is_followed(made):
    assert list(found_by(made("moved"))) == [("links", "ok")]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gone", "404 Not Found"),
        ("teapot", "418"),
        ("hangs", "no answer for 1 s"),
        ("other", "another size: 7 bytes, not 100"),
    ],
)
def test_a_source_that_no_address_gives_is_a_problem(made, kind, said):
    found = found_by(made(kind))["links", "problem"]
    assert found.what.startswith("predictions: no address gives it (http://127.0.0.1") or kind == "hangs"
    assert said in found.what
    assert "acquire.local" in found.remedy


def test_a_web_page_in_place_of_an_archive_is_a_problem(made):
    assert "a web page in place of the file" in found_by(made("drive", file="p.zip"))["links", "problem"].what


def test_a_server_that_asks_to_wait_is_a_note(made):
    found = found_by(made("busy"))["links", "note"]
    assert "503 Service Unavailable, asks to wait 120 s" in found.what
    assert "a download waits as the server asks" in found.remedy


def test_a_dead_mirror_is_a_note_where_another_lives(made):
    found = found_by(made("gone", "file"))
    assert set(found) == {("links", "note"), ("links", "ok")}
    assert found["links", "note"].remedy == "go on: another address gives it"


def test_a_slow_server_is_a_note(made, monkeypatch):
    monkeypatch.setattr(network, "SLOW_S", 0.2)
    assert re.search(r"answers after \d", found_by(made("slow"))["links", "note"].what)


def test_a_dead_address_says_when_it_was_last_alive(made):
    asked = made("gone")
    (url,) = asked.needs.sources["predictions"].addresses
    files.write_json(asked.layout.last_seen(), {url: "2026-01-02 03:04 UTC"})
    assert f"{url}: 404 Not Found (last seen alive 2026-01-02 03:04 UTC)" in found_by(asked)["links", "problem"].what
    assert network.last_seen(asked.layout)[url] == "2026-01-02 03:04 UTC"


def test_a_source_that_is_here_needs_no_address(made):
    asked = made("gone")
    for name in asked.needs.sources:
        path = asked.layout.resource(name) / "file"
        files.write_json(path, "here")
        files.write_json(asked.layout.manifest("fetched", name=name), {"files": [describe(path)]})
    found = found_by(asked)
    assert ("links", "problem") not in found
    assert found["links", "note"].remedy == "go on: it is here already"


def test_without_links_one_address_of_each_host_is_asked_and_nothing_is_written(made, server):
    asked = made("gone", "gone", links=False)
    assert found_by(asked)["network", "ok"].what == "1 host of the sources still to fetch: all answer"
    assert len(server.asked) == 1
    assert not asked.layout.last_seen().exists()


@pytest.mark.parametrize("links", [True, False])
def test_no_network_at_all_is_one_problem(made, monkeypatch, links):
    refused = answers.Answer(False, "its name cannot be resolved", has_said=False)
    monkeypatch.setattr(network, "ask_all", lambda urls, timeout_s: dict.fromkeys(urls, refused))
    ((key, found),) = found_by(made("file", "http://mirror/x", links=links)).items()
    assert key == ("network", "problem")
    assert "no host answers for 2 sources still to fetch, notes, predictions: " in found.what
    assert "set https_proxy" in found.remedy


def test_a_closed_port_is_no_connection():
    found = answers.ask(closed_port(), 2)
    assert (found.alive, found.has_said) == (False, False)
    assert found.why.startswith("no connection (")


def test_a_silent_host_is_asked_twice_and_no_more():
    calls = []

    def silent(url, _):
        calls.append(url)
        return answers.Answer(False, "no answer", has_said=False)

    found = answers.ask_all([f"http://a/{n}" for n in range(5)] + ["http://b/1"], 1, silent)
    assert (len(calls), len(found)) == (3, 6)


def test_a_host_is_asked_one_question_at_a_time():
    at_once, most = [], []

    def counting(url, _):
        at_once.append(url)
        most.append(len(at_once))
        time.sleep(0.01)
        at_once.remove(url)
        return answers.Answer(True)

    answers.ask_all([f"http://a/{n}" for n in range(4)], 1, counting)
    assert max(most) == 1


def test_a_file_that_a_local_folder_offers_is_not_asked_for(made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/p.jsonl").write_bytes(BODY)
    (tmp_path / "mine/n.jsonl").write_bytes(BODY)
    asked = made("gone", links=False, local=["mine"])
    assert found_by(asked)["network", "ok"].what == "not needed: every source is on this machine"
    (said,) = present.check(asked)
    assert said.what == "0 of 2 are here; 2 offered by acquire.local (notes, predictions)"
    (tmp_path / "mine/p.jsonl").write_bytes(b"short")
    assert "1 to fetch" in next(iter(present.check(asked))).what


def test_a_local_file_of_another_name_is_known_by_its_digest(made, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/other.txt").write_bytes(BODY)
    made("gone")
    table = tmp_path / "sources.csv"
    table.write_text(table.read_text().replace(",,100,", f",sha256:{hashlib.sha256(BODY).hexdigest()},100,"))
    asked = case.read(case.Invocation(target="experiment_e", entries=("acquire={local: [mine]}",)))
    assert [source.name for source in present.sources_at_hand(asked).offered] == ["predictions"]
    (tmp_path / "mine/other.txt").write_bytes(BODY.upper())
    assert present.sources_at_hand(asked).offered == []


@pytest.fixture
def mirrored(made, tmp_path):
    """Return a case whose files come from the folder `mirror`, in the layout of results/resources/."""
    made("gone")
    for name, file in (("predictions", "p.jsonl"), ("notes", "n.jsonl")):
        (tmp_path / "mirror" / name).mkdir(parents=True)
        (tmp_path / "mirror" / name / file).write_bytes(BODY)
    return case.read(case.Invocation(target="experiment_e", entries=("acquire={mirror: mirror}",)))


def test_a_mirror_folder_with_every_file_needs_no_server(mirrored, server):
    assert found_by(mirrored)["network", "ok"].what == "not needed: every source is on this machine"
    (said,) = present.check(mirrored)
    assert (said.level, said.what) == ("ok", "0 of 2 are here; 2 copied from this machine")
    assert server.asked == []


def test_a_mirror_folder_that_lacks_a_file_is_a_problem_that_names_it(mirrored, tmp_path):
    (tmp_path / "mirror/predictions/p.jsonl").unlink()
    said, _ = present.check(mirrored)
    assert (said.level, said.what) == ("problem", "acquire.mirror: mirror lacks 1 of 2 sources: predictions/p.jsonl")
    assert said.remedy == "put them there under these names, or into a folder named under acquire.local"


def test_a_mirror_folder_that_does_not_exist_is_one_problem(mirrored, tmp_path):
    (tmp_path / "mirror").rename(tmp_path / "elsewhere")
    said, _ = present.check(mirrored)
    assert (said.level, said.what) == ("problem", "acquire.mirror: there is no folder mirror")


def test_a_file_of_another_size_in_a_mirror_folder_is_a_problem(mirrored, tmp_path):
    (tmp_path / "mirror/predictions/p.jsonl").write_bytes(BODY[1:])
    said, _ = present.check(mirrored)
    assert said.what == f"predictions: {tmp_path}/mirror/predictions/p.jsonl has 99 bytes, not 100"
    assert said.remedy == "put the right file there, or name another folder as `acquire.mirror`"


def test_an_address_as_mirror_is_the_only_one_that_is_asked(made, server):
    made("gone", links=False)
    host = f"http://127.0.0.1:{server.server_address[1]}"
    asked = case.read(case.Invocation(target="experiment_e", links=True, entries=(f"acquire={{mirror: '{host}'}}",)))
    assert found_by(asked)["links", "ok"].what == "2 of 2 addresses of 2 sources answer"
    assert {path for _, path, _ in server.asked} == {"/predictions/p.jsonl", "/notes/n.jsonl"}


@pytest.mark.parametrize("links", [True, False])
def test_a_mirror_that_does_not_answer_is_corrected_and_not_set(made, links):
    made("gone", links=False)
    entries = (f"acquire={{mirror: '{closed_port()}'}}",)
    asked = case.read(case.Invocation(target="experiment_e", links=links, entries=entries))
    ((key, found),) = found_by(asked).items()
    assert key == ("network", "problem")
    assert "correct `acquire.mirror`, or leave that key out" in found.remedy


def test_nobody_is_told_to_set_a_mirror_that_is_set_and_slow(made, server, monkeypatch):
    monkeypatch.setattr(network, "SLOW_S", 0.0)
    made("file", links=False)
    host = f"http://127.0.0.1:{server.server_address[1]}"
    asked = case.read(case.Invocation(target="experiment_e", links=True, entries=(f"acquire={{mirror: '{host}'}}",)))
    assert "acquire.mirror" in found_by(made("file"))["links", "note"].remedy
    assert found_by(asked)["links", "note"].remedy == "go on"


def test_a_file_that_a_mirror_lacks_is_put_there_and_no_address_is_said_to_answer(made, server):
    made("file", links=False)
    host = f"http://127.0.0.1:{server.server_address[1]}/gone-mirror"
    asked = case.read(case.Invocation(target="experiment_e", links=True, entries=(f"acquire={{mirror: '{host}'}}",)))
    ((key, found),) = found_by(asked).items()
    assert key == ("links", "problem")
    assert "404" in found.what
    assert found.remedy.startswith("put it there (a mirror has the layout of results/resources/)")


def test_proxies_are_named_without_their_passwords(made, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy:3128")
    (found,) = network.proxies()
    assert found.what == "https_proxy=http://…@proxy:3128"


def test_a_damaged_note_of_last_seen_is_begun_anew(tmp_path):
    layout = Layout(tmp_path)
    layout.last_seen().parent.mkdir(parents=True)
    layout.last_seen().write_text("{")
    assert network.last_seen(layout) == {}
