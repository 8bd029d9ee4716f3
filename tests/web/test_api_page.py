"""`/docs` in a browser: Swagger UI under the strict policy, and a request that it sends."""

import pytest
from playwright.sync_api import expect

from tests.web.browser import Tab
from tests.web.conftest import NARROW, WIDE


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
def test_an_operation_is_tried_out(new_tab, server, viewport):
    """With its example, on this server, without a refusal of the policy."""
    tab: Tab = new_tab(server.url, "docs", viewport=viewport)
    tab.page.get_by_text("/v1/classify").click()
    tab.button("Try it out").click()
    tab.button("Execute").click()
    expect(tab.page.get_by_text('"object": "classification').first).to_be_visible()
    tab.check_no_overflow()
