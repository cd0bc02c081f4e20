"""The lines that an empty portal shows are those of the docs, whose tests run them."""

from __future__ import annotations

from html import unescape

import httpx
import pytest
from readme import blocks, documents

from robotrace.serve.portal_snippets import SNIPPETS
from robotrace.serve.server import Deployment
from robotrace.serve.settings import Settings


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.key)
def test_the_docs_have_the_same_lines(snippet):
    language = "bash" if snippet.key == "hydra" else "python"
    printed = [block for document in documents() for block in blocks(document, language)]
    assert any(snippet.code in block for block in printed)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "What is recorded on this machine arrives here by itself."),
        ({"public_url": "http://team.example"}, "robotrace login --base-url http://team.example"),
    ],
)
def test_an_empty_portal_shows_every_way_and_how_it_gets_here(tmp_path, options, says):
    with Deployment(Settings(tmp_path / "data", port=0, **options)) as empty:
        with httpx.Client(base_url=empty.base_url, trust_env=False, headers={"Sec-Fetch-Site": "same-origin"}) as web:
            web.post("/portal/login", data={"key": empty.first_key})
            page = unescape(web.get("/portal/episodes").text)
    for snippet in SNIPPETS:
        assert snippet.install in page
        assert snippet.code in page
    assert says in page
