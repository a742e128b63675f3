"""What Python has no word for: a square root and a power of two that are an instruction or two, and a prefetch.

A root is rounded correctly, a power is exact, and a prefetch only touches the cache.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

SINGLE = 4  # bytes of a single-precision number


def llvm_intrinsic(function: Callable[..., Any]) -> Any:
    """Make what ``function`` generates callable in kernels; what it is given first, the typing context, is not passed there."""
    return intrinsic(function)


@llvm_intrinsic
def root(_typing: Any, x: Any) -> Any:  # numba's own calls the C library, and looks at errno
    """``√x``."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [arguments[0].type]), arguments)

    return x(x), generate


@llvm_intrinsic
def power_of_two(_typing: Any, n: Any) -> Any:  # noqa: ARG001
    """``2ⁿ`` of a whole number from -126 to 127, in single precision."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        whole = builder.fptosi(arguments[0], ir.IntType(32))
        exponent = builder.add(whole, ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.float32), generate


@llvm_intrinsic
def prefetch(_typing: Any, array: Any, row: Any) -> Any:  # noqa: ARG001
    """Ask for ``array[row]``, from its first to its last cache line if it is no longer than two."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        made = context.make_array(array)(context, builder, arguments[0])
        stride = builder.extract_value(made.strides, 0)
        first = builder.add(builder.ptrtoint(made.data, stride.type), builder.mul(arguments[1], stride))
        last = builder.sub(builder.add(first, stride), ir.Constant(stride.type, 1))
        pointer, number = cgutils.voidptr_t, ir.IntType(32)
        typed = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        ask = cgutils.get_or_insert_function(builder.module, typed, "llvm.prefetch.p0")  # type: ignore[no-untyped-call]
        for address in (first, last)[: array.ndim]:  # an item lies in one line
            builder.call(ask, [builder.inttoptr(address, pointer), *(ir.Constant(number, n) for n in (1, 3, 1))])  # to write, near, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
