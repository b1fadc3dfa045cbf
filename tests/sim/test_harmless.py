import pytest

from shifthw.sim.harmless import UnsafeVerilog, check_harmless

PLAIN = """/* Generated; $system("not code") */
module \\$top.x (input a, output b); // `include is a comment
  (* src = "file.py:3 \\" $c(1)" *)
  wire \\$1 ;
  assign b = $signed(a) >>> $unsigned(a);
  always @(*) b = a;
endmodule
"""


def test_plain_logic_passes() -> None:
    check_harmless({"top.v": PLAIN})


@pytest.mark.parametrize("code", [
    'initial $system("touch /tmp/x");', 'initial $c("abort();");', "`include \"/etc/passwd\"", "`verilator_config",
    'import "DPI-C" function int system(input string s);', 'export "DPI-C" function f;',
    'wire a = "\\\\"+$c("x");', '/*\\*/ initial $c("x");', '/* unclosed $c("x")', 'wire a = "open\n; $c(1);',
    'wire \\a ; initial $finish;', 'wire x = """a"b""" + $c(1) + "";',
])
def test_anything_that_acts_is_refused(code: str) -> None:
    with pytest.raises(UnsafeVerilog, match="must be plain logic"):
        check_harmless({"top.v": f"module top;\n{code}\nendmodule\n"})


@pytest.mark.parametrize("name", ["-CFLAGS.v", "a b.v", "main.cpp", "x;y.v", "a/b.v"])
def test_names_are_those_of_modules(name: str) -> None:
    with pytest.raises(UnsafeVerilog, match="named like a module"):
        check_harmless({name: PLAIN})
