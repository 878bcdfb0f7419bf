"""Blocks that are lent and kept, of memory that stands for CUDA's; on a GPU, of CUDA's own."""

import ctypes
import mmap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from model import golden, page_locked
from model.bundle import Bundle
from model.devices import DeviceUnavailable
from model.page_locked import PageLockedMemory
from model.predictor import Predictor
from model.session import Session


class Pages:
    """Pages of the system, by their addresses."""

    def __init__(self):
        self.held = {}
        self.sizes = []

    def allocate(self, size):
        pages = mmap.mmap(-1, size)
        address = ctypes.addressof(ctypes.c_char.from_buffer(pages))
        self.held[address] = pages
        self.sizes.append(size)
        return address

    def release(self, address):
        del self.held[address]


@pytest.fixture
def pages():
    return Pages()


@pytest.fixture
def memory(pages):
    return PageLockedMemory(pages.allocate, pages.release)


def _address(array):
    return array.ctypes.data


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, "float64"])
@pytest.mark.parametrize("shape", [(1,), (0, 7), (3, 224, 224, 3), (5, 4096), ()])
def test_arrays_are_those_of_numpy_elsewhere(memory, pages, shape, dtype):
    array = memory.empty(shape, dtype)
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert all(array.flags[flag] for flag in ("C_CONTIGUOUS", "WRITEABLE", "ALIGNED"))
    array[...] = 7
    assert (array == 7).all()
    [(address, block)] = pages.held.items()
    assert _address(array) == address
    assert array.nbytes <= len(block)


def test_a_block_is_lent_again_once_no_array_and_no_view_lies_in_it(memory, pages):
    array = memory.empty((8, 1000), np.uint8)
    address, view = _address(array), array[2:, ::3].T
    del array
    while_viewed = memory.empty((8, 1000), np.uint8)
    assert _address(while_viewed) != address
    del view
    assert _address(memory.empty((7, 1100), np.uint8)) == address  # another shape, of as many pages
    assert pages.sizes == [8192, 8192]


def test_arrays_of_several_threads_never_share_a_block(memory, pages):
    def fill(number):
        for size in (100, 5000, 70_000) * 50:
            array = memory.empty((size,), np.int64)
            array.fill(number)
            assert (array == number).all()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(fill, number) for number in range(4)]:
            done.result(timeout=60)
    assert len(pages.held) <= 3 * 4


def test_without_more_of_it_arrays_lie_in_ordinary_memory():
    released = []
    memory = PageLockedMemory(lambda size: None, released.append)
    array = memory.empty((3, 4), np.int16)
    array.fill(1)
    assert array.sum() == 12
    del array, memory
    assert released == []


def test_what_is_kept_makes_room_for_batches_of_another_size_and_what_is_lent_does_not(pages):
    memory = PageLockedMemory(pages.allocate, pages.release, max_bytes=4 * 8192)
    small = [memory.empty((8192,), np.uint8) for _ in range(3)]
    large = memory.empty((2 * 8192,), np.uint8)  # no room: ordinary
    assert _address(large) not in pages.held
    del large, small[:]
    assert len(pages.held) == 3
    large = memory.empty((2 * 8192,), np.uint8)
    assert list(pages.held) == [_address(large)]
    more = [memory.empty((8192,), np.uint8) for _ in range(3)]
    assert [_address(array) in pages.held for array in more] == [True, True, False]
    for number, array in enumerate([large, *more]):
        array.fill(number)
    assert [int(array[-1]) for array in [large, *more]] == [0, 1, 2, 3]


def test_an_array_larger_than_all_of_it_costs_the_others_nothing(pages):
    memory = PageLockedMemory(pages.allocate, pages.release, max_bytes=8192)
    memory.empty((8192,), np.uint8)
    memory.empty((8193,), np.uint8).fill(1)
    assert pages.sizes == [8192]
    assert len(pages.held) == 1


def test_threads_that_want_more_than_there_is_never_share_a_block(pages):
    memory = PageLockedMemory(pages.allocate, pages.release, max_bytes=3 * 65_536)

    def fill(number):
        for size in (4096, 9000, 30_000, 65_536, 100_000) * 60:
            array = memory.empty((size,), np.uint8)
            array.fill(number)
            assert (array == number).all()

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(fill, number) for number in range(4)]:
            done.result(timeout=60)
    assert sum(map(len, pages.held.values())) <= 3 * 65_536


@pytest.mark.parametrize("kind", ["text", "image", "audio", "tokens"])
def test_a_predictor_fed_from_it_answers_the_same(request, memory, pages, kind):
    bundle = Bundle.open(request.getfixturevalue(f"trained_{kind}").bundle)
    session = Session(bundle, "cpu")
    predictor = Predictor(bundle, session=session)
    arrays = [predictor.preprocess(example.item) for example in golden.load(predictor)]
    expected = predictor.infer(arrays)
    session.empty = memory.empty
    for _ in range(3):
        assert predictor.infer(arrays) == expected
    assert len(pages.held) == 1  # one block, again and again


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this runtime offers CUDA")
def test_without_cudas_library_arrays_lie_in_ordinary_memory_and_the_log_says_so(caplog):
    page_locked.of_cuda.cache_clear()
    array = page_locked.of_cuda().empty((4,), np.int64)
    assert array.base is None  # its own memory
    assert "a GPU is fed from ordinary memory: libcudart" in caplog.text


@pytest.fixture(scope="module")
def cuda_session(trained_image):
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        pytest.skip(f"onnxruntime.get_available_providers() is {ort.get_available_providers()}")
    try:
        return Session(Bundle.open(trained_image.bundle), "cuda")
    except DeviceUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.gpu
def test_a_session_on_cuda_is_fed_from_memory_that_cuda_has_locked(cuda_session):
    class Attributes(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("device", ctypes.c_int), ("rest", ctypes.c_byte * 256)]

    attributes = Attributes()
    runtime = ctypes.CDLL(f"libcudart.so.{ort.cuda_version.split('.')[0]}")
    array = cuda_session.empty((4, 1000), np.uint8)
    address = ctypes.c_void_p(_address(array))
    assert runtime.cudaPointerGetAttributes(ctypes.byref(attributes), address) == 0
    assert attributes.type == 1  # cudaMemoryTypeHost: ordinary memory is 0


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["text", "image", "audio", "tokens"])
def test_threads_on_cuda_answer_as_the_cpu_does(request, cuda_session, kind):
    bundle = Bundle.open(request.getfixturevalue(f"trained_{kind}").bundle)
    on_cpu, on_cuda = Predictor(bundle, "cpu"), Predictor(bundle, "cuda")
    assert on_cuda.session.device == "cuda"
    arrays = [on_cpu.preprocess(example.item) for example in golden.load(on_cpu)]
    batches = [arrays[start:] for start in range(len(arrays))] * 8
    with ThreadPoolExecutor(4) as threads:
        for batch, probabilities in zip(batches, threads.map(on_cuda.probabilities, batches), strict=True):
            expected = on_cpu.probabilities(batch)
            np.testing.assert_array_equal(probabilities == 0, expected == 0)
            np.testing.assert_allclose(probabilities, expected, atol=golden.PROBABILITY_TOLERANCE)
