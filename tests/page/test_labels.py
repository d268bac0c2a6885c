"""Labels: typed, pasted, taken from a set, with prompts and examples."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.page.sounds import EXAMPLES


@pytest.fixture
def crow(page: Page) -> Page:
    """The page with the answer for a crow."""
    page.get_by_role("button", name="Crow", exact=True).click()
    expect(page.locator(".recording .rows > li")).to_have_count(10)
    return page


def test_bars_follow_a_label_while_it_is_typed(crow: Page) -> None:
    crow.get_by_label("Add labels").press_sequentially("bird")
    bars = crow.locator(".recording .rows > li[data-label='bird']")
    expect(bars).to_have_count(1)
    expect(crow.locator("#chips > li")).to_have_count(10)
    crow.get_by_label("Add labels").press("Enter")
    expect(crow.locator("#chips > li").last).to_contain_text("bird")
    crow.get_by_label("Add labels").press("Backspace")
    expect(bars).to_have_count(0)


def test_a_pasted_list_becomes_chips(crow: Page) -> None:
    crow.get_by_role("button", name="Clear").click()
    crow.get_by_label("Add labels").evaluate(
        """input => {
          const clipboardData = new DataTransfer();
          clipboardData.setData("text", "owl\\ncrow, gull;owl");
          input.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
        }"""
    )
    expect(crow.locator("#chips > li .chip-name")).to_have_text(["owl", "crow", "gull"])
    expect(crow.locator(".recording .rows > li")).to_have_count(3)


def test_one_label_alone_is_refused_beside_the_labels(crow: Page) -> None:
    crow.get_by_label("May be none of these").uncheck()
    crow.get_by_role("button", name="Clear").click()
    crow.get_by_label("Add labels").fill("crow")
    crow.get_by_label("Add labels").press("Enter")
    expect(crow.locator("#labels-error")).to_contain_text("one label")
    crow.get_by_text("Several may fit").click()
    expect(crow.locator("#labels-error")).to_be_hidden()
    expect(crow.locator(".recording .verdict-label")).to_have_text("crow")


def test_a_template_without_a_place_for_the_label_is_refused_beside_it(crow: Page) -> None:
    crow.get_by_label("Prompt", exact=True).fill("a sound")
    expect(crow.locator("#template-error")).to_contain_text("{label}")
    crow.get_by_label("Prompt", exact=True).fill("the sound of {label}")
    expect(crow.locator("#template-error")).to_be_hidden()


def test_prompts_and_examples_make_a_label_of_ones_own(crow: Page) -> None:
    for name, prompt in (("mine", "a crow cawing"), ("theirs", "a piano")):
        crow.get_by_label("Add labels").fill(name)
        crow.get_by_label("Add labels").press("Enter")
        crow.get_by_role("button", name=name, exact=True).click()
        crow.get_by_label("Prompts").fill(prompt)
    crow.get_by_role("button", name="Remove crow", exact=True).click()
    expect(crow.locator(".recording .verdict-label")).to_have_text("mine")

    crow.locator("#label-editor input[type=file]").set_input_files([EXAMPLES / "crow.flac"] * 6)
    expect(crow.locator(".label-examples li")).to_have_count(6)
    crow.get_by_role("button", name="mine", exact=True).click()
    crow.get_by_label("Prompts").fill("rain on a roof")
    expect(crow.locator(".recording .verdict-label")).to_have_text("theirs")
    expect(crow.locator("#snippet")).to_contain_text("examples.theirs=@crow.flac")


def test_a_registered_set_is_taken(page: Page, address: str) -> None:
    labels = [{"name": "corvid", "prompts": ["a crow cawing"]}, "organ"]
    httpx2.put(f"{address}/v1/label-sets/birds-of-the-page", json={"labels": labels}).raise_for_status()
    page.reload()
    page.get_by_label("Use a registered label set").select_option("birds-of-the-page")
    page.get_by_role("button", name="Crow", exact=True).click()
    expect(page.locator(".recording .verdict-label")).to_have_text("corvid")
    expect(page.locator("#snippet")).to_contain_text("label_set=birds-of-the-page")
    httpx2.delete(f"{address}/v1/label-sets/birds-of-the-page").raise_for_status()


def test_the_code_asks_for_what_the_page_asks(crow: Page) -> None:
    crow.get_by_text("Several may fit").click()
    for language, words in {
        "curl": ["audio=@crow.flac", "labels=crow", "activation=sigmoid"],
        "Python": ["from anysound_client import Client", '"crow.flac"', 'activation="sigmoid"'],
        "JavaScript": ["new FormData()", '"dog barking"', "/v1/classify"],
    }.items():
        crow.get_by_text(language, exact=True).click()
        for word in words:
            expect(crow.locator("#snippet")).to_contain_text(word)
