"""Credentials: which names hold one, which URLs have one in them, and the text without it."""

from pathlib import Path

import pytest

from launch import credentials, failure


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "hf_token", "WANDB_API_KEY", "OPENAI_APIKEY", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "MYSQL_PWD",
     "GPG_PASSPHRASE", "GOOGLE_APPLICATION_CREDENTIALS", "SSH_AUTH_SOCK", "OAUTH2_CODE", "GIT_COOKIE",
     "PRIVATE_THING", "XDG_SESSION_ID", "SLURM_JWT", "GITHUB_PAT", "SENTRY_DSN", "REJUVENATION_WEBHOOK", "KEY",
     "LAB_CREDS", "AZURE_CONNECTION_STRING"],
)  # fmt: skip
def test_a_name_of_a_secret(name: str) -> None:
    assert credentials.is_secret(name)


@pytest.mark.parametrize(
    "name",
    ["HOME", "USER", "SCRATCH", "PWD", "OLDPWD", "TMPDIR", "PATH", "SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID", "HF_HOME",
     "REJUVENATION_STORE", "WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "TOKENIZERS_PARALLELISM", "GIT_AUTHOR_NAME",
     "KEYBOARD", "COMPASS", "PATTERN", "PATCHES", "SIGMA", "CUDA_VISIBLE_DEVICES"],
)  # fmt: skip
def test_a_name_of_no_secret(name: str) -> None:
    assert not credentials.is_secret(name)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("https://user:hunter2@host/x", "https://***@host/x"),
        ("HTTPS://user:hunter2@HOST", "HTTPS://***@HOST"),
        ("https://hunter2@github.com/a/b", "https://***@github.com/a/b"),
        ("https://us%3Aer:hunter2@h", "https://***@h"),
        ("https://user:hun/ter2@host/x", "https://***@host/x"),
        ("https://user:hun@ter2@host/x", "https://***@host/x"),
        ("postgresql+psycopg://user:hunter2@db/optuna", "postgresql+psycopg://***@db/optuna"),
        ("say 'base=\"https://u:hunter2@h/a b\"' twice", "say 'base=\"https://***@h/a b\"' twice"),
        ("[https://a,https://u:hunter2@b]", "[https://a,https://***@b]"),
        ("https://h/x?a=1&token=hunter2&b=2", "https://h/x?a=1&token=***&b=2"),
        ("https://h/x#access_token=hunter2", "https://h/x#access_token=***"),
        ("https://h/x?api_key=hunter2", "https://h/x?api_key=***"),
        ("https://b.s3.aws/k?X-Amz-Signature=hunter2", "https://b.s3.aws/k?X-Amz-Signature=***"),
        ("https://a.blob/c?sv=1&sig=hunter2", "https://a.blob/c?sv=1&sig=***"),
        ("https://hooks.slack.com/services/T0/B0/hunter2", "https://hooks.slack.com/services/***"),
        ("https://discord.com/api/webhooks/1/hunter2", "https://discord.com/api/webhooks/***"),
        ("https://lab.webhook.office.com/webhookb2/hunter2", "https://lab.webhook.office.com/***"),
    ],
)  # fmt: skip
def test_a_url_with_a_secret_is_shown_without_it(text: str, without: str) -> None:
    assert credentials.fault(text) is not None
    assert credentials.masked(text) == without
    assert "hunter2" not in str(credentials.fault(text))


@pytest.mark.parametrize(
    "text",
    ["https://host:8080/path", "https://host:8080/a@b", "https://host/a:b@c", "ssh://git@github.com/a", "git@h:a/b",
     "hf://datasets/owner/name@main/x", "mysql://reader@h/db", "https://h/x?tokenizer=gpt2&page=2", "a@b.c", "file:///x",
     "https://hooks.example.org/", "owner/name", "Rejuvenation+RL@alpha=0.4", "s3://bucket/key?versionId=3"],
)  # fmt: skip
def test_a_url_without_a_secret_is_one(text: str) -> None:
    assert credentials.fault(text) is None
    assert credentials.masked(text) == text


def test_the_reason_of_a_failure_is_left_without_a_password(tmp_path: Path) -> None:
    failure.leave(tmp_path, "Cannot connect to proxy http://me:hunter2@proxy:3128\nsecond line")
    assert failure.messages(tmp_path) == ["Cannot connect to proxy http://***@proxy:3128", "second line"]
