"""The modules that a page names before its script asks for them."""

import httpx
import pytest

from robotrace.serve import modules
from robotrace.serve.modules import imports_of


@pytest.fixture
def static(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "_STATIC", tmp_path)
    imports_of.cache_clear()
    yield tmp_path
    imports_of.cache_clear()


def test_what_is_imported_and_what_that_imports_is_named_once(static):
    (static / "a.js").write_text('import { x } from "./b.js";\nimport {\n  y,\n} from "./c.js";\n// from "./no.js"\n')
    (static / "b.js").write_text('import { z } from "./c.js";\nimport { x } from "./a.js";\n')
    (static / "c.js").write_text("export const y = 1;\n")
    assert imports_of("a.js") == ("b.js", "c.js")


def test_the_page_of_an_episode_names_every_module_of_its_script(api, deployment):
    page = httpx.get(f"{deployment.base_url}/portal/episodes/{api.record({'sensors': b'x'})}").text
    names = imports_of("episode.js")
    assert {"player.js", "camera.js", "timeline.js"} <= set(names)
    for name in names:
        assert f'<link rel="modulepreload" href="/static/{name}">' in page
        assert httpx.get(f"{deployment.base_url}/static/{name}").status_code == 200
