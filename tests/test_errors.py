"""The tree of errors, and what each carries."""

import pickle

import pytest

from robotrace import errors
from robotrace.errors import APIError, ConfigurationError, RateLimitError, RobotraceError, TransportError

STATUS_ERRORS = ["AuthError", "ConflictError", "NotFoundError", "RateLimitError", "ServerError", "ValidationError"]


def test_everything_derives_from_one_base():
    assert {kind.__base__ for kind in (ConfigurationError, TransportError, APIError)} == {RobotraceError}
    assert RobotraceError.__base__ is Exception


@pytest.mark.parametrize("name", STATUS_ERRORS)
def test_an_answer_that_is_no_success_is_an_api_error(name):
    kind = getattr(errors, name)
    assert kind.__base__ is APIError
    error = kind("the text", status_code=418, response_body={"error": "the text"})
    assert (str(error), error.status_code, error.response_body) == ("the text", 418, {"error": "the text"})
    assert kind("x", status_code=418).response_body is None


def test_a_rate_limit_says_how_long():
    assert RateLimitError("x", status_code=429).retry_after is None
    assert RateLimitError("x", status_code=429, retry_after=2.5).retry_after == 2.5


@pytest.mark.parametrize("name", ["APIError", *STATUS_ERRORS])
def test_an_error_of_a_worker_process_reaches_the_parent(name):
    error = getattr(errors, name)("the text", status_code=418, response_body={"a": 1})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_the_tree_in_the_docstring_is_the_tree():
    for name in errors.__all__:
        assert name in errors.__doc__
