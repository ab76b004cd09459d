import pytest

from tideover.smtp.parameters import (
    MailParameters,
    ParameterError,
    RcptParameters,
    parse_mail,
    parse_rcpt,
)


def test_mail_parameters():
    assert parse_mail(b"") == MailParameters()
    assert parse_mail(b"size=12 Body=8bitmime SMTPUTF8 RET=hdrs ENVID=a+2Bb") == MailParameters(
        12, "8BITMIME", smtputf8=True, ret="HDRS", envid="a+2Bb"
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"SIZE", 501), (b"SIZE=", 501), (b"SIZE=x", 501), (b"SIZE=-1", 501), (b"SIZE=1 SIZE=2", 501),
     (b"SIZE=" + b"9" * 21, 501), (b"BODY=BINARYMIME", 501), (b"SMTPUTF8=1", 501),
     (b"RET=SOME", 501), (b"ENVID=a=b", 501), (b"ENVID=" + b"a" * 101, 501), (b"AUTH=<>", 555),
     (b"FOO", 555), (b"HOLDFOR=1", 555), (b"ENVID=a+2b", 501)],
)  # fmt: skip
def test_mail_parameters_that_are_wrong(text, code):
    with pytest.raises(ParameterError) as caught:
        parse_mail(text)
    assert caught.value.code == code


def test_rcpt_parameters():
    assert parse_rcpt(b"") == RcptParameters()
    assert parse_rcpt(b"NOTIFY=never") == RcptParameters(("NEVER",))
    assert parse_rcpt(b"NOTIFY=success,DELAY ORCPT=rfc822;a@b.c") == RcptParameters(
        ("SUCCESS", "DELAY"), "rfc822;a@b.c"
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [(b"NOTIFY", 501), (b"NOTIFY=", 501), (b"NOTIFY=NEVER,DELAY", 501),
     (b"NOTIFY=DELAY,DELAY", 501),
     (b"NOTIFY=LATER", 501), (b"ORCPT=a@b.c", 501), (b"ORCPT=rfc822;a b", 555),
     (b"ORCPT=rfc822;" + b"a" * 500, 501), (b"SIZE=1", 555), (b"ORCPT=utf-8;\xff", 501)],
)  # fmt: skip
def test_rcpt_parameters_that_are_wrong(text, code):
    with pytest.raises(ParameterError) as caught:
        parse_rcpt(text)
    assert caught.value.code == code
