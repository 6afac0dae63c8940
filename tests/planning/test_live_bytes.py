import torch

from nnunet_ext.planning.live_bytes import LiveBytes


def test_counts_what_is_alive_once() -> None:
    before = torch.zeros(10)
    with LiveBytes() as live:
        first = torch.zeros(1000)
        view = first.view(10, 100)[2:]
        same = before.view(2, 5)
        assert live.now == 4000
        second = first + 1
        assert live.now == 8000
        del first
        assert live.now == 8000  # the view keeps it
        del view
        assert live.now == 4000
        third = torch.zeros(100, dtype=torch.float64)
        assert live.now == 4800
        del second, third, same
    assert live.now == 0
    assert live.peak == 8000


def test_in_place_operators_and_tensors_from_outside_cost_nothing() -> None:
    before = torch.zeros(1000)
    with LiveBytes() as live:
        before.add_(1)
        before.view(10, 100)[0].mul_(2)
    assert live.peak == 0


def test_counts_what_autograd_keeps() -> None:
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes() as live:
        y = x.exp().sin().sum()
        assert live.now == 4000 + 4  # the result of exp, which sin's backward pass needs too, and y
        y.backward()
    assert live.now == 4000 + 4  # the gradient and y
    assert live.peak >= 2 * 4000
