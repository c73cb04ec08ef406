"""The pretended CUDA device: what it refuses, notes and records, as a GPU does."""

import copy
import io
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad

import bench.streams
from bench.throughput.counts import _waits, sync_debug_mode
from tests.pretended import pretended

SYNCHRONIZING = {
    "a number": lambda x: x.sum().item(),
    "a condition": lambda x: bool((x > 0).all()),
    "a list": lambda x: x.tolist(),
    "positions": lambda x: x.nonzero(),
    "a mask": lambda x: x[x > 0],
    "counts": lambda x: x.long().bincount(),
    "an inverse that may not exist": lambda x: torch.linalg.inv(x.diag() + 1.5),
    "indices of the CPU": lambda x: x[torch.tensor([0])],
    "there and back": lambda x: x.cpu(),
    "from the CPU": lambda x: torch.ones(3).to(x.device),
    "a copy from the CPU": lambda x: x.copy_(torch.ones(3)),
    "a copy to the CPU": lambda x: torch.ones(3).copy_(x),
    "numbers of the program": lambda x: torch.tensor([1.0], device="cuda"),
    "pinned and waiting": lambda x: torch.ones(3).pin_memory().to("cuda"),
    "not pinned": lambda x: torch.ones(3).to("cuda", non_blocking=True),
}
QUEUED = {
    "arithmetic": lambda x: (2 * x + torch.tensor(1.0)).sum(),
    "factories": lambda x: torch.zeros(3, device="cuda") + torch.arange(3, device="cuda") + torch.ones_like(x),
    "indices": lambda x: x[torch.zeros(2, dtype=torch.int64, device="cuda")],
    "pinned": lambda x: torch.ones(3).pin_memory().to("cuda", non_blocking=True),
    "one of so many": lambda x: F.one_hot(x.long(), 3),
    "choice": lambda x: torch.where(x > 0, x, 0.0),
    "its place": lambda x: (x.device, x.shape, x.dtype, x.is_cuda),
}
MIXED = {
    "sum": lambda x, y: x + y,
    "sum in place": lambda x, y: y.add_(x),
    "product": lambda x, y: x @ y,
    "list": lambda x, y: torch.cat([x, y]),
    "stack of scalars": lambda x, y: torch.stack([x.sum(), y.sum()]),
    "scalar there": lambda x, y: x.sum() * y,
    "loss": lambda x, y: F.mse_loss(x, y),
    "indices there": lambda x, y: y[torch.zeros(2, dtype=torch.int64, device="cuda")],
}


@pytest.fixture
def device():
    with pretended() as found:
        yield found


@pytest.fixture
def x(device):
    made = torch.arange(3.0, device="cuda")
    device.waits.clear()
    return made


def test_tensors_say_where_they_are(x):
    assert (x.device, x.is_cuda, x.is_cpu, x.get_device()) == (torch.device("cuda:0"), True, False, 0)
    for there in (x + 1, x[1:], x.view(3, 1), torch.empty_like(x), x.new_zeros(2), x.new_tensor([1]), x.detach()):
        assert there.device == x.device
    for here in (x.cpu(), x.to("cpu"), torch.zeros(3), torch.zeros_like(x, device="cpu"), torch.tensor([1.0])):
        assert here.device.type == "cpu"
    assert torch.zeros(3).cuda().is_cuda and torch.zeros(3).to(x).is_cuda and x.to(torch.float64).is_cuda
    assert copy.deepcopy(x).is_cuda and not copy.deepcopy(x.cpu()).is_cuda
    assert torch.equal(x.cpu(), torch.arange(3.0))


def test_after_it_all_is_as_before():
    before = torch.cuda.is_available(), torch.Generator, torch.load, torch.autocast
    with pretended():
        x = torch.zeros(3, device="cuda")
    assert (torch.cuda.is_available(), torch.Generator, torch.load, torch.autocast) == before
    assert x.device.type == "cpu"


@pytest.mark.parametrize("what", MIXED)
def test_tensors_of_two_devices_do_not_meet(what, x):
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        MIXED[what](x, torch.ones(3))


def test_a_tensor_there_is_no_array(x):
    with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor"):
        x.numpy()


def test_whole_numbers_are_not_multiplied_as_matrices(x):
    with pytest.raises(NotImplementedError, match="not implemented for 'torch"):
        x.long().view(1, 3) @ x.long().view(3, 1)


@pytest.mark.parametrize("what", SYNCHRONIZING)
def test_what_waits_is_noted_and_told_as_torch_does(what, x, device):
    call = SYNCHRONIZING[what]
    call(x)
    assert len(device.waits) == 1
    assert _waits(lambda: call(x)) == 1
    with sync_debug_mode("error"), pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        call(x)


@pytest.mark.parametrize("what", QUEUED)
def test_what_does_not_wait_is_not_noted(what, x, device):
    with sync_debug_mode("error"):
        QUEUED[what](x)
    assert device.waits == []


def test_a_mode_is_put_back_and_its_warning_is_no_error(device):
    """torch warns that it is a prototype."""
    with pytest.raises(UserWarning, match="prototype"):
        torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with sync_debug_mode("error"):
            assert torch.cuda.get_sync_debug_mode() == 2
        assert torch.cuda.get_sync_debug_mode() == 0
        with pytest.raises(RuntimeError, match="synchronizing"), sync_debug_mode("error"):
            torch.zeros(3, device="cuda").tolist()
        assert torch.cuda.get_sync_debug_mode() == 0


# Random numbers


def test_the_device_has_random_numbers_of_its_own(device):
    torch.manual_seed(1)
    there, state = torch.rand(3, device="cuda"), torch.cuda.get_rng_state()
    torch.rand(3)  # of the CPU
    following = torch.rand(3, device="cuda")
    torch.cuda.set_rng_state(state)
    assert torch.equal(following, torch.rand(3, device="cuda"))
    torch.manual_seed(1)
    assert torch.equal(there, torch.rand(3, device="cuda"))
    with torch.random.fork_rng([torch.device("cuda:0")]):
        inside = torch.rand(3, device="cuda")
    assert torch.equal(inside, torch.rand(3, device="cuda"))


@pytest.mark.parametrize(("of", "on"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_generator_draws_where_it_is(of, on, device):
    generator = torch.Generator(of).manual_seed(0)
    assert generator.device.type == of and bench.streams.Generator is torch.Generator
    with pytest.raises(RuntimeError, match=f"Expected a '{on}.*' device type for generator"):
        torch.rand(3, device=on, generator=generator)
    assert torch.rand(3, device=of, generator=generator).device.type == of


# What is trained


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam])
def test_a_training_there_is_that_of_the_cpu(kind, device):
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))]
    models.append(copy.deepcopy(models[0]).to("cuda"))
    for model in models:
        optimizer = kind(model.parameters(), 0.1, fused=True)
        place = next(model.parameters()).device
        data = torch.arange(15.0).view(5, 3).sin().to(place)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(data), torch.zeros(5, dtype=torch.int64, device=place)).backward()
            optimizer.step()
    for one, other in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert other.is_cuda
        assert torch.equal(one, other.cpu())
    assert all(p.grad.is_cuda for p in models[1].parameters())


def test_forward_mode_and_autocast_work_there(x, device):
    layer = nn.Linear(3, 2).to("cuda")
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, torch.ones_like(x)))).tangent
    assert tangent.is_cuda
    assert torch.allclose(tangent.cpu(), layer.weight.cpu().sum(1))
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda") == torch.bfloat16
        assert layer(x).dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cuda")


def test_what_is_saved_comes_back_to_where_it_is_asked(x, device):
    file = io.BytesIO()
    torch.save({"a": [x]}, file)
    for where in ("cuda", "cpu"):
        file.seek(0)
        (loaded,) = torch.load(file, map_location=where)["a"]
        assert loaded.device.type == where
        assert torch.equal(loaded.cpu(), x.cpu())


def test_memory_is_counted(device):
    before = torch.cuda.memory_allocated()
    kept = torch.zeros(1000, device="cuda")
    torch.zeros(500, device="cuda")
    assert torch.cuda.memory_allocated() - before == 4 * len(kept)
    assert torch.cuda.max_memory_allocated() - before == 4 * 1500
    torch.cuda.reset_peak_memory_stats()
    assert torch.cuda.max_memory_allocated() - before == 4 * 1000


# Graphs


def captured(update, pool=None):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        made = update()
    return graph, made


def test_nothing_is_run_while_it_is_captured_and_no_python_while_it_is_replayed(x, device):
    calls = []

    def update():
        calls.append(torch.cuda.is_current_stream_capturing())
        x.mul_(2)
        return x.sum()

    graph, total = captured(update)
    assert x.tolist() == [0, 1, 2]
    assert total.isnan().item()
    place = total.data_ptr()
    for times in (2, 4):
        graph.replay()
        assert x.tolist() == [0, times, 2 * times]
        assert total.item() == 3 * times
    assert calls == [True] and total.data_ptr() == place
    x.fill_(1)  # the same tensors, with what is in them then
    graph.replay()
    assert total.item() == 6


def test_numbers_are_those_of_the_capture(x, device):
    factor, scalar = {"is": 2.0}, torch.tensor(10.0)
    graph, made = captured(lambda: x * factor["is"] + scalar)
    factor["is"] = 3.0
    scalar.fill_(20.0)
    graph.replay()
    assert made.tolist() == [10, 12, 14]


def test_a_training_is_replayed_with_its_gradients(device):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to("cuda")
    data, expected = torch.arange(15.0, device="cuda").view(5, 3).sin(), copy.deepcopy(model)

    def update(model, optimizer):
        optimizer.zero_grad()
        loss = model(data).square().mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    plain = torch.optim.SGD(expected.parameters(), 0.1, momentum=0.9, fused=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, fused=True)
    for one in (model, optimizer), (expected, plain):
        update(*one)
    graph, loss = captured(lambda: update(model, optimizer))
    for _ in range(2):
        graph.replay()
        assert torch.equal(loss, update(expected, plain))
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other) and torch.equal(one.grad, other.grad)
    for one, other in zip(model.buffers(), expected.buffers(), strict=True):
        assert torch.equal(one, other)


def test_an_optimizer_that_counts_on_the_cpu_cannot_be_captured(device):
    parameter = nn.Parameter(torch.ones(3, device="cuda"))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.Adam([parameter], fused=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="capturable is False"):
        captured(optimizer.step)
    optimizer.param_groups[0]["capturable"] = True
    captured(optimizer.step)[0].replay()
    assert optimizer.state[parameter]["step"].item() == 2


@pytest.mark.parametrize("what", SYNCHRONIZING)
def test_what_waits_cannot_be_captured(what, x, device):
    with pytest.raises(RuntimeError, match="failed due to a previous error during capture") as raised:
        captured(lambda: SYNCHRONIZING[what](x))
    assert "operation not permitted when stream is capturing" in str(raised.value.__context__)
    assert not torch.cuda.is_current_stream_capturing()


@pytest.mark.parametrize("what", ["synchronize", "get_rng_state"])
def test_the_device_is_not_waited_for_in_a_capture(what, device):
    with pytest.raises(RuntimeError, match="previous error during capture"):
        captured(getattr(torch.cuda, what))


def test_an_error_of_the_program_ends_a_capture(x, device):
    with pytest.raises(ZeroDivisionError):
        captured(lambda: x.mul_(1 / 0))
    assert x.tolist() == [0, 1, 2]
    assert captured(lambda: x + 1)


def test_replays_draw_other_numbers_from_the_device_alone(device):
    graph, made = captured(lambda: torch.rand(3, device="cuda"))
    before = torch.get_rng_state()
    torch.manual_seed(3)
    graph.replay()
    first = made.clone()
    graph.replay()
    assert not torch.equal(first, made)
    torch.cuda.manual_seed(3)
    assert torch.equal(first, torch.rand(3, device="cuda"))
    torch.set_rng_state(before)


def test_a_generator_that_the_graph_does_not_know_cannot_be_captured(device):
    generator = torch.Generator("cuda")
    with pytest.raises(RuntimeError, match="not in capture mode"):
        captured(lambda: torch.rand(3, device="cuda", generator=generator))


def test_a_pool_whose_graphs_are_gone_takes_no_other_while_a_tensor_lies_in_it(x, device):
    pool = torch.cuda.graph_pool_handle()
    graph, made = captured(lambda: x + 1, pool)
    other = captured(lambda: x + 2, pool)[0]
    del graph
    captured(lambda: x + 3, pool)  # one of its graphs is left
    del other
    with pytest.raises(RuntimeError, match=r"use_count > 0 INTERNAL ASSERT FAILED"):
        captured(lambda: x + 4, pool)
    captured(lambda: x + 4, torch.cuda.graph_pool_handle())
    del made
    captured(lambda: x + 5, pool)


def test_before_torch_2_12_a_failed_capture_spoils_the_allocator_and_the_generator(x, device, monkeypatch):
    monkeypatch.setattr(device, "keeps_failing", True)
    with pytest.raises(RuntimeError, match="previous error"):
        captured(x.tolist)
    with pytest.raises(RuntimeError, match="captures_underway"):
        captured(lambda: x + 1)
    with pytest.raises(RuntimeError, match="Offset increment outside graph capture"):
        torch.rand(3, device="cuda")
    assert torch.rand(3, device="cuda", generator=torch.Generator("cuda")).is_cuda
    monkeypatch.setattr(device, "keeps_failing", False)
    monkeypatch.setattr(device, "stuck", False)
    with pytest.raises(RuntimeError, match="previous error"):
        captured(x.tolist)
    assert captured(lambda: x + 1) and torch.rand(3, device="cuda").is_cuda
