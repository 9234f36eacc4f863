"""What can be read on a picture."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree


def words_of(path: Path) -> set[str]:
    """The texts of an SVG: matplotlib draws them as outlines, and leaves each as a comment."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(path, parser).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return {(element.text or "").strip() for element in root.iter() if element.tag is ElementTree.Comment}
