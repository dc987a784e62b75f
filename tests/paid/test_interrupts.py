"""Ctrl-C while something is under way that costs money."""

import signal
import threading

import pytest

from feint.paid.interrupts import finishing, interruptible


def interrupted(block):
    """What a block did before Ctrl-C ended it."""
    done = []
    with pytest.raises(KeyboardInterrupt):
        block(done)
    return done


def test_the_first_one_waits_for_the_end_of_the_block(ctrl_c):
    def block(done):
        with finishing():
            ctrl_c()
            done.append("stored")
        done.append("more")

    assert interrupted(block) == ["stored"]


def test_an_error_of_the_block_does_not_hide_it(ctrl_c):
    def block(done):
        with finishing():
            ctrl_c()
            raise ValueError

    interrupted(block)


def test_the_second_one_acts_at_once(ctrl_c):
    def block(done):
        with finishing():
            ctrl_c()
            ctrl_c()
            done.append("stored")

    assert interrupted(block) == []


def test_a_wait_is_interrupted_at_once(ctrl_c):
    def block(done):
        with finishing(), interruptible():
            ctrl_c()
            done.append("waited")

    assert interrupted(block) == []


def test_a_wait_does_not_begin_behind_one(ctrl_c):
    def block(done):
        with finishing():
            ctrl_c()
            with interruptible():
                done.append("waited")

    assert interrupted(block) == []


def test_behind_a_wait_it_is_put_off_again(ctrl_c):
    def block(done):
        with finishing():
            with interruptible():
                pass
            ctrl_c()
            done.append("stored")

    assert interrupted(block) == ["stored"]


def test_a_block_within_another_ends_with_it(ctrl_c):
    def block(done):
        with finishing():
            with finishing():
                ctrl_c()
            done.append("stored")

    assert interrupted(block) == ["stored"]


def test_a_wait_in_a_block_within_another_is_interrupted_at_once(ctrl_c):
    def block(done):
        with finishing(), finishing(), interruptible():
            ctrl_c()
            done.append("waited")

    assert interrupted(block) == []


def test_a_wait_in_no_block_is_as_ever(ctrl_c):
    def block(done):
        with interruptible():
            ctrl_c()
            done.append("waited")

    assert interrupted(block) == []


def test_another_thread_and_an_ignored_signal_are_left_alone(ctrl_c):
    handlers = []

    def work():
        with finishing(), interruptible():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    assert handlers == [signal.default_int_handler, signal.SIG_IGN]
