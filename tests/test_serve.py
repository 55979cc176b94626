"""The page of `ask --serve` is open to this machine only, shows one video, answers one question at a time, and ends
without a traceback."""

from __future__ import annotations

import json
import re
import socket

import pytest
from made_videos import make_video
from served_page import served

from pipeline import cli
from pipeline.asking import serve
from pipeline.errors import PipelineError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "secret.txt").write_text("secret")
    return make_video(folder / "a <b> & c.mp4", range(0, 600 * 20, 300), rate=2)


@pytest.fixture(scope="module")
def page(video):
    with served(video) as found:
        yield found


def test_the_page_is_whole_escaped_and_asks_nothing_of_anybody_else(page):
    response, body = page.get()
    text = body.decode()
    assert response.status == 200
    assert "<title>a &lt;b&gt; &amp; c.mp4: moments</title>" in text
    assert not re.search(r"https?://", text)
    policy = response.getheader("Content-Security-Policy")
    nonce = re.search(r"script-src 'nonce-([\w-]+)'", policy)[1]
    assert re.findall(r"<script[^>]*>", text) == [f'<script nonce="{nonce}">']
    assert "default-src 'none'" in policy
    assert response.getheader("Server") is None
    again = page.get()[0].getheader("Content-Security-Policy")
    assert again != policy


def test_a_question_is_answered_by_the_part_of_the_page_that_files_have_too(page):
    *before, last = page.ask("<script>alert(1)</script>")
    assert before == [{"before": 0}]
    assert "<h2>&lt;script&gt;alert(1)&lt;/script&gt;</h2>" in last["section"]
    assert re.findall(r'data-second="([\d.]+)"', last["section"]) == ["4.0", "12.0"]
    assert last["section"].count("<polyline") == 1
    assert last["seconds"] >= 0


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("refused", "query: has a second line → ask something else"),
        ("broken", "The question could not be answered. The terminal says why."),
    ],
)
def test_an_error_is_one_line_and_the_next_question_is_answered(page, query, said):
    assert page.ask(query)[-1] == {"error": said}
    assert "section" in page.ask("a dog")[-1]


ELSEWHERE = [
    ("Host", "evil.example"),
    ("Host", "evil.example:{port}"),
    ("Host", "127.0.0.1"),
    ("Host", "127.0.0.1:1"),
    ("Host", "127.0.0.1.evil.example:{port}"),
    ("Host", "[::1]:{port}"),
    ("Host", ""),
    ("Origin", "http://evil.example"),
    ("Origin", "null"),
    ("Origin", "https://{host}"),
    ("Origin", "http://127.0.0.1:1"),
    ("Origin", "http://localhost:{port}"),
    ("Sec_Fetch_Site", "cross-site"),
    ("Sec_Fetch_Site", "same-site"),
]


@pytest.mark.parametrize("place", ["", "video", "ask"])
@pytest.mark.parametrize(("name", "value"), ELSEWHERE)
def test_a_request_from_elsewhere_is_refused(page, place, name, value):
    sent = {name: value.format(port=page.port, host=page.host)}
    body = b'{"query": "a"}' if place == "ask" else None
    response, said = page.get(place, method="POST" if body else "GET", body=body, **sent)
    assert response.status == 403
    assert said.count(b"\n") == 0


def test_a_request_without_a_host_is_refused(page):
    assert page.get(Host=None)[0].status in (400, 403)


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://{host}"}, {"Sec_Fetch_Site": "none"}])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_the_page_itself_may_ask(page, host, headers):
    named = f"{host}:{page.port}"
    sent = {name: value.format(host=named.lower()) for name, value in headers.items()}
    assert "section" in page.ask("a dog", Host=named, **sent)[-1]


WITHOUT_THE_WORD = ("/", "/ask", "/video", "//", "/x/", "/x/video", "/favicon.ico", "/../secret.txt", "{cut}")
BESIDE_THE_PAGE = (
    *("../secret.txt", "secret.txt", "video/../../secret.txt", "%2e%2e/secret.txt", "video%2f..%2fsecret.txt"),
    *("..%5csecret.txt", "video/", "video;x", "//etc/passwd", "%00"),
)


@pytest.mark.parametrize("path", [*WITHOUT_THE_WORD, *(f"{{path}}{place}" for place in BESIDE_THE_PAGE)])
def test_no_other_path_leads_anywhere(page, path):
    response, body = page.get(path.format(path=page.path, cut=page.path[:-2] + "/"))
    assert response.status == 404
    assert b"secret" not in body


@pytest.mark.parametrize(("place", "method"), [("", "POST"), ("video", "DELETE"), ("ask", "GET"), ("", "TRACE")])
def test_other_methods_are_refused(page, place, method):
    assert page.get(place, method=method)[0].status == 405


def test_the_video_comes_in_parts_so_that_a_browser_can_seek(page, video):
    whole = video.read_bytes()
    n = len(whole)
    response, body = page.get("video")
    assert (response.status, response.getheader("Content-Type"), body) == (200, "video/mp4", whole)
    assert response.getheader("Accept-Ranges") == "bytes"
    for asked, (first, end) in {
        "bytes=0-": (0, n),
        "bytes=0-0": (0, 1),
        "bytes=100-299": (100, 300),
        f"bytes={n - 1}-": (n - 1, n),
        "bytes=-50": (n - 50, n),
        f"bytes=5-{2 * n}": (5, n),
    }.items():
        response, body = page.get("video", Range=asked)
        assert (response.status, body) == (206, whole[first:end]), asked
        assert response.getheader("Content-Range") == f"bytes {first}-{end - 1}/{n}"
    response, body = page.get("video", Range=f"bytes={n}-")
    assert (response.status, response.getheader("Content-Range")) == (416, f"bytes */{n}")
    assert page.get("video", method="HEAD")[1] == b""


def test_every_response_is_kept_and_framed_by_nobody(page):
    for place in ("", "video", "nothing"):
        response, _ = page.get(place)
        assert response.getheader("Cache-Control") == "no-store"
        assert response.getheader("X-Frame-Options") == "DENY"
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
        assert response.getheader("Referrer-Policy") == "no-referrer"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"query": "' + b"a" * 16_384 + b'"}', b"The body is longer than 16,384 bytes."),
        (b"{", b"The body is no JSON."),
        (b"\xff\xfe", b"The body is no JSON."),
        (b"[" * 10_000, b"The body is no JSON."),
        (b"[]", b"The body holds no query."),
        (b'{"query": 7}', b"The body holds no query."),
        (b"", b"The body is no JSON."),
    ],
)
def test_a_body_that_is_no_question_is_refused_in_one_line(page, body, said):
    response, found = page.get("ask", method="POST", body=body)
    assert (response.status, found) == (400, said)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_a_body_that_any_page_could_send_is_refused(page, kind):
    response, _ = page.get("ask", method="POST", body=b'{"query": "a"}', Content_Type=kind)
    assert response.status == 400


def test_a_second_browser_waits_its_turn_and_is_told(page, tmp_path):
    queries = (f"until {tmp_path / 'go'}", "a dog", "a cat")
    asked = [page.begin(query) for query in queries]
    assert [next(lines) for lines in asked] == [{"before": 0}, {"before": 1}, {"before": 2}]
    (tmp_path / "go").touch()
    sections = [list(lines)[-1]["section"] for lines in asked]
    assert [query in section for query, section in zip(queries, sections, strict=True)] == [True] * 3
    first, *others = [int(re.search(r"Answer number (\d+)", section)[1]) for section in sections]
    assert others == [first + 1, first + 2]


def test_a_page_that_goes_away_takes_its_question_back(page, tmp_path):
    first = page.begin(f"until {tmp_path / 'go'}")
    body = json.dumps({"query": f"until {tmp_path / 'never'}"}).encode()
    with socket.create_connection(("127.0.0.1", page.port)) as gone:
        head = f"POST {page.path}ask HTTP/1.1\r\nHost: {page.host}\r\nContent-Type: application/json\r\n"
        gone.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        gone.recv(200)
    third = page.begin("a dog")
    assert {"before": 1} in third  # it has left as soon as only the first one is before this one
    (tmp_path / "go").touch()
    assert all("section" in list(lines)[-1] for lines in (first, third))


def test_too_many_questions_are_turned_away(page, tmp_path):
    asked = [page.post(f"until {tmp_path / 'go'}" if not n else f"{n}") for n in range(24)]
    (tmp_path / "go").touch()
    bodies = [response.read() for response in asked]
    assert [response.status for response in asked] == [200] * 16 + [400] * 8
    assert set(bodies[16:]) == {"16 questions are waiting already → ask again in a minute".encode()}
    assert all(b"section" in body for body in bodies[:16])


def test_a_question_that_takes_too_long_is_given_up_and_the_next_waits_for_it(video, tmp_path):
    given_up = {"error": "The question was not answered within 1 s."}
    with served(video, question_s=1.0) as page:
        assert page.ask(f"until {tmp_path / 'go'}")[-1] == given_up
        first_line, *_, last_line = page.ask("a dog")
        assert (first_line, last_line) == ({"before": 1}, given_up)
        (tmp_path / "go").touch()
        assert any("section" in page.ask("a dog")[-1] for _ in range(20))


def test_ctrl_c_ends_it_without_a_word_too_much_also_while_the_video_is_read(video):
    with served(video) as page, socket.create_connection(("127.0.0.1", page.port)) as reader:
        reader.sendall(f"GET {page.path}video HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode())
        assert "section" in page.ask("a dog")[-1]
        status, said = page.end()
        assert (status, said.splitlines()[-1]) == (0, "Ended.")
        assert "Traceback" not in said


def test_it_listens_on_the_loopback_address_alone(page):
    with serve.listen(0) as found:
        assert found.getsockname()[0] == "127.0.0.1"
    others = [info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    for address in {other for other in others if not other.startswith("127.")}:
        with pytest.raises(OSError, match="refused"), socket.create_connection((address, page.port), timeout=2):
            pass


def test_a_port_that_is_taken_or_none_is_named(page):
    for port in (page.port, 70_000):
        with pytest.raises(PipelineError, match=rf"--port {port}: cannot be opened .* → name another port"):
            serve.listen(port)


def test_without_the_extra_one_sentence_names_it(monkeypatch, tmp_path):
    monkeypatch.setattr(serve, "find_spec", lambda _: None)
    said = r'ask: --serve: needs starlette and uvicorn, .* → install the extra: pip install "\.\[serve\]"'
    with pytest.raises(SystemExit, match=said):
        cli.main(["ask", str(tmp_path / "v.mp4"), "--serve", "--run", str(tmp_path)])


def test_a_port_needs_a_page(tmp_path):
    with pytest.raises(SystemExit, match=r"ask: --port: is for a page → add --serve"):
        cli.main(["ask", str(tmp_path / "v.mp4"), "--port", "8000", "--run", str(tmp_path)])
