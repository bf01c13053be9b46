"""What can go wrong with a model that is served, and the tests that say what comes of it. A test that is renamed or
removed is missed here.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

SCENARIOS: dict[str, dict[str, list[str]]] = {
    "S1: its process is killed while it streams": {
        "e2e/test_faults_runner.py": ["test_s1_killed_while_it_streams"],
        "e2e/test_company.py": ["test_a_killed_runner_fails_its_own_streams_at_once_and_nothing_else"],
    },
    "S2: its process is killed while it answers in one piece": {
        "e2e/test_faults_runner.py": ["test_s2_killed_while_it_answers_in_one_piece"],
    },
    "S3: its process crashes before the first token": {
        "e2e/test_faults_runner.py": [
            "test_s3_dies_before_the_first_token",
            "test_s3_crashes_while_a_real_model_loads",
        ],
    },
    "S4: its process hangs": {
        "e2e/test_faults_runner.py": ["test_s4_stopped_while_it_streams"],
        "runner/test_watchdog.py": [
            "test_a_process_that_hangs_in_a_step_fails_its_requests_and_is_gone",
            "test_a_load_that_hangs_is_given_up_and_leaves_no_process",
        ],
    },
    "S5: its process crashes at each load": {
        "e2e/test_faults_runner.py": [
            "test_s5_crashes_at_each_load_until_its_time_is_over",
            "test_s5_crashes_at_each_load_until_it_is_stopped",
        ],
    },
    "S6: the server is killed": {
        "e2e/test_faults_process.py": ["test_s6_killed"],
        "e2e/test_store_crashes.py": ["test_killed_at_each_failpoint", "test_killed_while_a_large_model_is_pulled"],
    },
    "S7: the server is asked to end": {
        "e2e/test_faults_process.py": ["test_s7_asked_to_end"],
        "server/test_shutdown.py": [
            "test_running_stream_may_finish",
            "test_nobody_new_is_let_in",
            "test_what_does_not_end_is_cut",
        ],
    },
    "S8: the server is asked to end twice": {
        "e2e/test_faults_process.py": ["test_s8_told_twice"],
        "server/test_shutdown.py": ["test_second_signal_ends_now"],
    },
    "S9: a client leaves while text is written": {
        "e2e/test_faults_clients.py": ["test_s9_leaves_while_text_is_written"],
        "e2e/test_company.py": ["test_who_leaves_while_text_is_written_is_forgotten"],
    },
    "S10: a client leaves while its prompt is read": {
        "e2e/test_faults_clients.py": ["test_s10_leaves_while_a_long_prompt_is_read"],
        "e2e/test_company.py": ["test_who_leaves_while_a_long_prompt_is_read_is_forgotten"],
    },
    "S12: a client leaves while its model loads": {
        "e2e/test_faults_clients.py": ["test_s12_leaves_while_its_model_loads"],
    },
    "S13: a client closes the half that it sends on": {
        "e2e/test_faults_clients.py": ["test_s13_half_closed"],
        "server/test_streams.py": ["test_client_leaves_between_two_lines"],
    },
    "S14: a client stops reading": {
        "e2e/test_faults_clients.py": ["test_s14_stops_reading"],
        "server/test_streams.py": ["test_client_that_stops_reading_is_dropped"],
    },
    "S15: a client leaves thousands of lines behind": {
        "e2e/test_faults_clients.py": ["test_s15_leaves_ten_thousand_lines_behind"],
        "server/test_streams.py": ["test_client_leaves_a_backlog_and_starves_nobody"],
    },
    "S16: a client speaks HTTP/2 and takes nothing": {
        "server/test_bad_requests.py": ["test_http2_with_prior_knowledge"],
    },
    "S17: one request too many": {
        "e2e/test_faults_queue.py": ["test_s17_one_too_many"],
    },
    "S18: a request waits too long": {
        "e2e/test_faults_queue.py": ["test_s18_waits_too_long"],
    },
    "S19: a model is larger than the memory": {
        "e2e/test_faults_memory.py": ["test_s19_larger_than_the_machine", "test_s19_room_is_made_by_idle_models"],
    },
    "S20: memory runs out while it loads": {
        "e2e/test_faults_memory.py": [
            "test_s20_no_memory_while_it_loads",
            "test_s20_ended_by_the_system_while_it_loads",
        ],
        "runner/test_failures.py": ["test_a_load_for_which_there_is_no_memory"],
    },
    "S21: memory runs out while it streams": {
        "e2e/test_faults_runner.py": [
            "test_s21_out_of_memory_while_it_streams",
            "test_s21_a_real_model_is_ended_for_want_of_memory_while_it_streams",
        ],
    },
    "S22: others want the place of a busy one": {
        "e2e/test_faults_queue.py": [
            "test_s22_a_busy_model_finishes_first",
            "test_s22_who_has_left_evicts_nobody",
            "test_s22_many_wait_for_one_load",
        ],
    },
    "S23: it is unloaded while others ask for it": {
        "e2e/test_faults_unloading.py": ["test_s23_unloaded_and_asked_for_in_turn"],
    },
    "S24: it is deleted while it streams": {
        "e2e/test_store_crashes.py": ["test_deleted_while_it_answers", "test_deleted_while_its_weights_are_in_use"],
    },
    "S46: it is on another server, which fails": {
        "e2e/test_front_faults.py": [
            "test_s46_fails_before_its_answer_begins",
            "test_s46_refuses_in_words_that_reach_the_client",
            "test_s46_wants_a_pause_and_gets_it",
            "test_s46_breaks_off_in_mid_stream",
            "test_s46_cuts_an_answer_in_one_piece",
            "test_s46_stalls_before_its_answer_begins",
            "test_s46_stalls_in_mid_stream",
            "test_s46_trickles_an_answer_in_one_piece",
            "test_s46_sends_one_endless_line",
        ],
        "e2e/test_front_breaker.py": [
            "test_s46_left_alone_after_five_failures_and_tried_again",
            "test_s46_only_one_request_tries_and_others_need_not_wait",
            "test_s46_another_one_is_asked_before_the_answer_begins",
            "test_s46_nobody_else_is_asked_after_the_first_byte",
            "test_s46_all_of_them_fail",
            "test_s46_an_upstream_that_is_gone_and_comes_back",
        ],
        "e2e/test_front_failover.py": ["test_one_is_killed_in_mid_traffic_and_comes_back"],
    },
}


@cache
def _tests_of(file: str) -> set[str]:
    """The names of the functions in a file of tests."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_there_is_a_test_of(scenario: str) -> None:
    for file, names in SCENARIOS[scenario].items():
        assert set(names) <= _tests_of(file)
