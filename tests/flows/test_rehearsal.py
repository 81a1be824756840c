"""The rehearsal of 2019: the old way fails in it, and Ivy does not."""

from tests.faults.processes import run


def test_ivy_holds_where_the_old_way_fails(transactional_db: None) -> None:
    status, answer = run("rehearse_incident", seconds=500)  # about 30 where nothing else runs
    assert status == 0
    assert answer["ivy_held"]
    assert (answer["old_way_mails"], answer["old_way_errant"]) == (300, 270)
    assert (answer["ivy_mails"], answer["ivy_duplicates"], answer["ivy_missing"]) == (30, 0, 0)
    assert (answer["breaker_held"], answer["breaker_let_through"], answer["alarm_mails"]) == (90, 0, 1)
