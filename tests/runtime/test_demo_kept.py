"""Facts about the pictures that the demo page keeps."""

from __future__ import annotations

from ecovision_edge.demo.kept import Kept, Shot


def test_each_visitor_has_the_last_picture_until_the_tab_is_closed():
    kept = Kept()
    kept.put("a", Shot(b"1", "x"))
    kept.put("b", Shot(b"2", "y"))
    kept.put("a", Shot(b"3", "z"))
    assert kept.get("a") == Shot(b"3", "z")
    kept.forget("a")
    kept.forget("a")
    assert (kept.get("a"), kept.get("b"), len(kept)) == (None, Shot(b"2", "y"), 1)
    kept.put("b", None)
    assert len(kept) == 0


def test_pictures_not_used_for_longest_give_way():
    """By bytes, and by number."""
    kept = Kept(most_bytes=10, most_visitors=3)
    for name in "abc":
        kept.put(name, Shot(b"123", name))
    assert kept.get("a") is not None
    kept.put("d", Shot(b"1", "d"))
    assert [name for name in "abcd" if kept.get(name)] == ["a", "c", "d"]
    kept.put("e", Shot(b"1234567", "e"))
    assert [name for name in "abcde" if kept.get(name)] == ["d", "e"]
    kept.put("f", Shot(b"12345678901", "f"))
    assert len(kept) == 0
