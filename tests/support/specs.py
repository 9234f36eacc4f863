"""All that `--trunc` may say, for hypothesis to draw from."""

from __future__ import annotations

from hypothesis import strategies as st

lengths = st.integers(1, 200)
simple_forms = st.one_of(
    st.sampled_from(["{}", "stateless:{}", "random:{}", "artbp:{}", "snap:{}", "rtrl:{}", "uoro:{}"]),
    st.sampled_from(["shuffled-state:{}", "last:{}", "last-carried:{}"]),
    lengths.map("{{}}/{}".format),
    lengths.map("{}/{{}}".format),
)


# What shuffling is for: lengths that are not random, and an order that does not depend on validations.
shuffled_forms = simple_forms.filter(lambda form: not form.startswith(("random:", "artbp:")))


@st.composite
def curricula(
    draw: st.DrawFn,
    forms: st.SearchStrategy[str] = simple_forms,
    growths: tuple[str, ...] = ("", "@linear", "@plateau"),
) -> str:
    form, growth = draw(forms), draw(st.sampled_from(growths))
    return f"{form.format(draw(lengths))}..{form.format(draw(lengths))}{growth}"


specs = st.one_of(
    st.sampled_from(["full", "snap", "rflo"]),
    st.builds(str.format, simple_forms, lengths),
    st.builds("{}/{}@rerun".format, st.integers(1, 9), st.integers(10, 99)),
    st.builds("last:{}/{}".format, st.integers(9, 99), st.integers(2, 9)),
    st.integers(1, 10**9 - 1).map("adaptive:0.{:09d}".format).map(lambda spec: spec.rstrip("0")),
    curricula(),
    curricula(shuffled_forms, ("", "@linear")).map("shuffle({})".format),
)
