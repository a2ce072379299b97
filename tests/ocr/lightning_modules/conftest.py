"""What several tests of this folder need of torch's compiler."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Graphs of other tests are neither used nor counted, and none are left behind."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def no_compiler(fresh_compiler: None) -> Iterator[None]:
    """A machine without a C++ compiler, on which nothing was compiled before."""
    from torch._functorch import config as functorch
    from torch._inductor import config as inductor

    missing = {"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False}
    with inductor.patch(missing), functorch.patch({"enable_autograd_cache": False}):
        yield
