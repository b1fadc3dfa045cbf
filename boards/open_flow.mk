# EXPERIMENTAL: a bitstream for the ZC706 without Vivado: Yosys, nextpnr-xilinx and Project X-Ray's tools (openXC7).
#
#   make -f open_flow.mk CHIPDB=/path/xc7z045ffg900.bin PRJXRAY_DB=/path/prjxray-db
#
# What is known: openXC7's database of the xc7z045 was tested for the generation of bitstreams, not on a board, and no
# board has run the result of this file. nextpnr's timing is an estimate without guarantee, hence a FREQUENCY below the
# clock of the Vivado project; the driver must be told a clock no faster than it. There is no hardware handoff, so
# PYNQ's Overlay cannot load the result; Linux's FPGA manager can: make -f open_flow.mk bin and the same variables.
# CHIPDB is made once, with nextpnr-xilinx's own tools, from the PRJXRAY_DB that belongs to it: gigabytes.

include settings.mk

# In MHz.
FREQUENCY = 50
CHIPDB =
PRJXRAY_DB =

YOSYS = yosys
NEXTPNR = nextpnr-xilinx
FASM2FRAMES = fasm2frames
FRAMES2BIT = xc7frames2bit
# openXC7 1.0 has one program in place of the latter two: FPGA_AS=fpga-as.
FPGA_AS =
PYTHON = python3

# -nosrl: before openXC7 1.0 nextpnr stops at a chain of shift registers (port Q31).
SYNTHESIS = synth_xilinx -family xc7 -flatten -abc9 -nosrl -top open_top
SOURCES = open_top.v axi3_lite.v ../vivado/shifthw_top.v $(ENGINE)
DATABASE = $(PRJXRAY_DB)/zynq7

# $(call need,program): stops if there is no such program.
need = @command -v '$(1)' >/dev/null || { echo 'open_flow.mk: $(1) is not on the PATH: install openXC7' >&2; exit 1; }
# $(call given,variable,what): stops if it does not name something that exists.
given = @test -e '$($(1))' || { echo 'open_flow.mk: $(1) must be $(2), not "$($(1))": give $(1)=PATH' >&2; exit 1; }

.PHONY: bitstream bin clean
.DELETE_ON_ERROR:

bitstream: open_top.bit
bin: open_top.bin

# nextpnr does not know the cells that only tell what a part of the netlist was called.
open_top.json: $(SOURCES) settings.mk
	$(call need,$(YOSYS))
	'$(YOSYS)' -q -p '$(SYNTHESIS); check -assert; delete t:$$scopeinfo; write_json $@' $(SOURCES)

open_top.fasm: open_top.json open_zc706.xdc
	$(call need,$(NEXTPNR))
	$(call given,CHIPDB,the chip database of $(PART))
	'$(NEXTPNR)' --chipdb '$(CHIPDB)' --xdc open_zc706.xdc --json $< --fasm $@ --freq $(FREQUENCY)

ifeq ($(FPGA_AS),)
open_top.frames: open_top.fasm
	$(call need,$(FASM2FRAMES))
	$(call given,PRJXRAY_DB,the folder prjxray-db)
	'$(FASM2FRAMES)' --part $(PART) --db-root '$(DATABASE)' $< > $@

open_top.bit: open_top.frames
	$(call need,$(FRAMES2BIT))
	'$(FRAMES2BIT)' --part_file '$(DATABASE)/$(PART)/part.yaml' --part_name $(PART) --frm_file $< --output_file $@
else
open_top.bit: open_top.fasm
	$(call need,$(FPGA_AS))
	$(call given,PRJXRAY_DB,the folder prjxray-db)
	'$(FPGA_AS)' --prjxray_db_path='$(DATABASE)' --part $(PART) $< > $@
endif

# -B: Python's caches would be foreign files in the build.
open_top.bin: open_top.bit
	cd ../driver && '$(PYTHON)' -B -m shifthw_driver.bitstream '$(CURDIR)/$<' '$(CURDIR)/$@'

clean:
	rm -f open_top.json open_top.fasm open_top.frames open_top.bit open_top.bin
