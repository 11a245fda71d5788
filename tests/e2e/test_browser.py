"""``make ui``, and what its user sees in Airflow's web interface, in a real browser.

``make screenshots`` runs this too, and keeps the pictures for the documents.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from airflow_provider_cm.get_provider_info import get_provider_info
from tests.e2e.browser import Pages, Ui, chromium, images_folder, wait_for
from tests.e2e.conftest import PROD, ROOT, TENANT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.e2e

PAGES = "https://pages.example.com"
LINK = "Communications Mining project"
# What the connections of make ui hold, and what a test types.
APP_SECRET, PROXY_SECRET, BAD_TOKEN = "emulator-secret", "proxy-geheim-1", "token-geheim-2"
SECRETS = (APP_SECRET, PROXY_SECRET, BAD_TOKEN)
PORT_ONLY = {"connection_id": "mine", "conn_type": "comms_mining", "port": 0}
# Airflow fails a task that is answered before its scheduler has noted that the worker let go of it.
READING_SECONDS = 8


@pytest.fixture(scope="module")
def ui() -> Iterator[Ui]:
    started = Ui.start()
    yield started
    started.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def admin(browser: Browser, ui: Ui, images: Path) -> Pages:
    return Pages(browser, ui, "admin", images)


def test_make_ui_says_where_everything_is(ui: Ui) -> None:
    listed = ui.call("GET", "/api/v2/dags")["dags"]
    examples = {path.stem for path in (ROOT / "example_dags").glob("*.py")}
    wait_for(
        lambda: examples <= {dag["dag_id"] for dag in ui.call("GET", "/api/v2/dags")["dags"]},
        lambda: [dag["dag_id"] for dag in listed],
    )
    assert ui.call("GET", "/api/v2/importErrors")["total_entries"] == 0
    stored = {each["connection_id"]: each for each in ui.call("GET", "/api/v2/connections")["connections"]}
    assert set(stored) == {"comms_mining_default", "comms_mining_prod", "comms_mining_guarded", "mailboxes"}
    for conn_id, tenant in (("comms_mining_default", TENANT), ("comms_mining_prod", PROD)):
        assert re.search(rf"connection +{conn_id} +is its tenant {tenant}\n", ui.text)
        assert stored[conn_id]["host"] == ui.emulator + tenant
    for user in ("admin", "colleague"):
        credentials = {"username": user, "password": ui.password(user)}
        assert requests.post(f"{ui.airflow}/auth/token", json=credentials, timeout=60).status_code == 201
    assert set(ui.sources(TENANT, "acme-dev")) == {"billing-inbox", "claims-inbox", "customer-survey"}
    assert set(ui.sources(PROD, "acme-prod")) == {"billing-inbox", "customer-survey"}
    for name in ("comms_mining_default", "example_dev_to_prod", "example_fan_in", "Required Actions", LINK, PAGES):
        assert name in ui.text.partition("What to click first:")[2]


def test_the_connection_form_is_ours_and_tells_what_the_hook_saw(admin: Pages, ui: Ui) -> None:
    from playwright.sync_api import expect

    page = admin.go("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill("mine")
    form.get_by_role("combobox").click()
    page.keyboard.type("communications")
    expect(page.get_by_role("option")).to_have_text(["UiPath Communications Mining"])
    page.keyboard.press("Enter")

    password = form.get_by_label("Developer token or App Secret")
    form.get_by_label("Endpoint (host)").fill(f"{ui.emulator}{TENANT}")
    form.get_by_label("App ID, external application (login)").fill("emulator-app")
    password.fill(APP_SECRET)
    expect(password).to_have_attribute("type", "password")
    for hidden in ("Host", "Port", "Schema", "Login"):
        expect(form.get_by_label(hidden, exact=True)).to_have_count(0)
    admin.screenshot("connection-form")

    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for field in get_provider_info()["connection-types"][0]["conn-fields"].values():
        expect(extra(form, field["label"])).to_contain_text(field["description"])
    expect(extra(form, "Allow deletes").get_by_role("checkbox")).to_be_checked()
    expect(extra(form, "Read only").get_by_role("checkbox")).not_to_be_checked()
    proxy = extra(form, "Proxy").get_by_role("textbox")
    expect(proxy).to_have_attribute("type", "password")
    proxy.fill(f"http://airflow:{PROXY_SECRET}@proxy.example.com:3128")
    extra(form, "Allowed projects").get_by_role("textbox").fill("acme-*")
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)

    # Once more, to see what the form shows of what is stored.
    row(page, "mine").get_by_label("Edit Connection").click()
    expect(password).to_have_value("***")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(proxy).to_have_value("***")
    expect(extra(form, "Allowed projects").get_by_role("textbox")).to_have_value("acme-*")
    assert not any(admin.shows(secret) for secret in SECRETS)
    stored = ui.call("GET", "/api/v2/connections/mine")
    assert (stored["login"], stored["password"]) == ("emulator-app", "***")
    filled = {name: value for name, value in json.loads(stored["extra"]).items() if value not in (None, False)}
    assert filled == {"proxy": "***", "allow_delete": True, "allowed_projects": "acme-*"}

    # What is typed here is used, and nobody answers there.
    proxy.fill("")
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)

    # Airflow 3.3.1 and 3.3.2 do not test a stored connection without a port (apache/airflow#73298), so it gets one.
    ui.call("PATCH", "/api/v2/connections/mine?update_mask=port", json=PORT_ONLY)
    page.reload(wait_until="commit")
    status, message = press_test(page, "mine")
    assert (status, message) == (True, "Connected: 1 project, 3 sources visible.")

    row(page, "mine").get_by_label("Edit Connection").click()
    form.get_by_label("App ID, external application (login)").fill("")
    password.fill(BAD_TOKEN)
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)
    status, message = press_test(page, "mine")
    assert not status
    assert message.startswith("GET sources: 401 Unauthorized: ")
    assert "put the current one into the connection" in message
    expect(page.get_by_text(message)).to_be_visible()
    assert not any(admin.shows(secret) for secret in SECRETS)


def extra(form: Locator, label: str) -> Locator:
    """Give a field of the extra with its label and its help."""
    return form.get_by_role("group").filter(has=form.page.get_by_text(label, exact=True))


def row(page: Page, conn_id: str) -> Locator:
    return page.locator("tr", has=page.get_by_role("cell", name=conn_id, exact=True))


def press_test(page: Page, conn_id: str) -> tuple[bool, str]:
    """Press "Test Connection"; when it worked, Airflow shows a green sign only."""
    with page.expect_response("**/connections/test") as answer:
        row(page, conn_id).get_by_label("Test Connection").click()
    body = answer.value.json()
    assert answer.value.ok, body
    return body["status"], body["message"]


def test_a_rollout_is_read_approved_and_carried_out(admin: Pages, ui: Ui, browser: Browser, images: Path) -> None:
    from playwright.sync_api import expect

    dag = "example_dev_to_prod"
    before = ui.sources(PROD, "acme-prod")
    run = admin.trigger(dag)
    wait_for(lambda: ui.states(dag, run).get("approve") == "awaiting_input", lambda: ui.states(dag, run))
    awaited = time.monotonic()
    base = f"/dags/{dag}/runs/{run}"
    digest = ui.call("GET", f"/api/v2{base.replace('/runs/', '/dagRuns/')}/taskInstances/plan/xcomEntries/digest")

    page = admin.go(f"{base}/tasks/plan")
    expect(page.get_by_test_id("virtualized-list")).to_contain_text('title: "Billing (old)" -> "Billing inbox"')
    shown = page.locator("body").inner_text()
    for line in ("~ billing-inbox (update", "+ claims-inbox (create)", "1 to create, 1 to update, 1 unchanged"):
        assert line in shown
    assert f"Digest: {digest['value']}" in shown
    assert not any(admin.shows(secret) for secret in SECRETS)
    admin.screenshot("plan-log")
    leads_to(admin, f"{base}/tasks/plan", f"{PAGES}{PROD}/projects/acme-prod")

    page = admin.go(base)
    page.get_by_role("button", name=re.compile("graph", re.IGNORECASE)).click()
    expect(page.get_by_text("awaiting_input").or_(page.get_by_text("Awaiting Input")).first).to_be_visible()
    expect(page.locator(".react-flow__node")).to_have_count(5)
    admin.screenshot("rollout-graph")
    page.get_by_role("button", name=re.compile("grid", re.IGNORECASE)).click()  # Airflow remembers it for other pages

    colleague = Pages(browser, ui, "colleague", images)
    for who in (colleague, admin):
        page = who.go(f"{base}/tasks/approve/required_actions")
        expect(page.get_by_text("Roll out to acme-prod?")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="billing-inbox").first).to_contain_text(
            '"Billing (old)" → "Billing inbox"'
        )
        expect(page.get_by_text(digest["value"])).to_be_visible()
        assert not any(who.shows(secret) for secret in SECRETS)
    admin.screenshot("approval")
    time.sleep(max(0.0, awaited + READING_SECONDS - time.monotonic()))
    colleague.page.get_by_role("button", name="Approve").click()
    expect(colleague.page.get_by_text("Access Denied")).to_be_visible()
    assert ui.states(dag, run)["approve"] == "awaiting_input"
    assert ui.sources(PROD, "acme-prod") == before
    admin.page.get_by_role("button", name="Approve").click()

    wait_for(lambda: ui.states(dag, run)["verify"] not in {None, "queued", "running"}, lambda: ui.states(dag, run))
    assert set(ui.states(dag, run).values()) == {"success"}
    after = ui.sources(PROD, "acme-prod")
    assert set(after) - set(before) == {"claims-inbox"}
    assert after["billing-inbox"]["title"] == "Billing inbox"
    assert after["billing-inbox"]["sensitive_properties"] == ["string:Sender"]


def test_a_deferred_sensor_is_seen_waiting(admin: Pages, ui: Ui) -> None:
    from playwright.sync_api import expect

    dag = "example_fan_in"
    run = admin.trigger(dag)
    wait_for(lambda: ui.states(dag, run).get("wait") == "deferred", lambda: ui.states(dag, run))
    deferred = time.monotonic()
    task = f"/dags/{dag}/runs/{run}/tasks/wait/mapped/0"
    page = admin.go(task)
    expect(page.get_by_text("Deferred", exact=True).first).to_be_visible()
    expect(page.get_by_text("Looked at source acme-dev/mailbox-000: it is not there").first).to_be_visible()
    admin.screenshot("waiting")
    leads_to(admin, task, f"{PAGES}{TENANT}/projects/acme-dev")
    time.sleep(max(0.0, deferred + READING_SECONDS - time.monotonic()))
    ui.create_source(TENANT, "acme-dev", "mailbox-000")
    wait_for(lambda: ui.states(dag, run)["all_there"] == "success", lambda: ui.states(dag, run))


def leads_to(admin: Pages, task: str, address: str) -> None:
    """Press the task's button, and look where the new window wants to go."""
    page = admin.go(f"{task}/details")
    admin.context.route(f"{PAGES}/**", lambda route: route.fulfill(body="the project"))
    with admin.context.expect_page() as opened:
        page.get_by_role("link", name=LINK).click()
    opened.value.wait_for_url(address)
    opened.value.close()


def test_ctrl_c_leaves_no_process_and_no_file(ui: Ui) -> None:
    # In the middle of its work: a worker runs a task then, in a process group of its own.
    ui.call("PATCH", "/api/v2/dags/example_mapped_sources", json={"is_paused": False})
    ui.call("POST", "/api/v2/dags/example_mapped_sources/dagRuns", json={"logical_date": None})
    time.sleep(3)
    home = Path(ui.said(r"its log +(\S+)/airflow\.log\n"))
    assert home.is_dir()
    children = [each for each in ui.children() if alive(each)]
    assert {"scheduler", "triggerer", "dag-processor"} <= {word for each in children for word in command(each)}
    sessions = {os.getsid(each.pid) for each in children}
    assert len(sessions) == 1

    assert ui.interrupt() == 0
    wait_for(lambda: "Everything is stopped." in ui.text, lambda: ui.text, seconds=10)
    assert [
        each for each in psutil.process_iter() if alive(each) and (each in children or in_one(each, sessions))
    ] == []
    assert not home.exists()
    for url in (ui.airflow, ui.emulator):
        with pytest.raises(requests.ConnectionError):
            requests.get(url, timeout=5)
    assert "Traceback" not in ui.text


def alive(process: psutil.Process) -> bool:
    """Whether it runs; a container's first process may not collect what has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def in_one(process: psutil.Process, sessions: set[int]) -> bool:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        return os.getsid(process.pid) in sessions
    return False
