"""A report as a test reads it: its elements and tables; and the verb, called in this process."""

import sys
from html.parser import HTMLParser

import pytest

from solvable.cli import main

HERE, HOSTILE = "tests.lab.toy", "tests.lab.hostile"


class Page(HTMLParser):
    """The elements of a page in order, the text of each, and its tables by caption."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attributes": dict(attrs), "text": "", "path": [one["tag"] for one in self.open]}
        self.elements.append(element)
        if tag not in ("meta", "img", "link", "br", "input"):
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open[-1]["tag"] == tag, f"<{self.open[-1]['tag']}> is closed by </{tag}>"
        self.open.pop()

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag):
        return [element for element in self.elements if element["tag"] == tag]

    def tables(self):
        """The rows of each table by the label of its region."""
        found = {}
        for element in self.elements:
            if element["attributes"].get("class") == "scroll":
                lines = found.setdefault(element["attributes"]["aria-label"], [])
            elif element["tag"] == "tr":
                lines.append([])
            elif element["tag"] in ("td", "th"):
                lines[-1].append(element["text"])
        return found


def called(monkeypatch, capsys, *words):
    """`solvable report` with these words: its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["solvable", "report", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main.main()
    return end.value.code, capsys.readouterr()
