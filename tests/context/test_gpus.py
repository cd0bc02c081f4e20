"""What NVIDIA's driver says of itself, in the words of its files."""

from pathlib import Path

import pytest

from robotrace.context.gpus import read_gpus

INFORMATION = """Model: \t\t NVIDIA H200
IRQ:   \t\t 214
GPU UUID: \t GPU-11111111-2222-3333-4444-555555555555
Video BIOS: \t 96.00.a5.00.01
Bus Type: \t PCIe
"""
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\nGCC version:"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (a@b)\n"


@pytest.mark.parametrize(("text", "version"), [(PROPRIETARY, "535.129.03"), (OPEN, "550.54.15")])
def test_models_and_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, version: str) -> None:
    for address in ("0000:1b:00.0", "0000:0a:00.0"):
        (tmp_path / "gpus" / address).mkdir(parents=True)
        (tmp_path / "gpus" / address / "information").write_text(INFORMATION)
    (tmp_path / "version").write_text(text)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert read_gpus(tmp_path) == {"gpus": ["NVIDIA H200", "NVIDIA H200"], "gpu_driver": version}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert read_gpus(tmp_path)["cuda_visible_devices"] == "1"


def test_without_a_driver_nothing_is_said(tmp_path: Path) -> None:
    assert read_gpus(tmp_path / "none") == {}
