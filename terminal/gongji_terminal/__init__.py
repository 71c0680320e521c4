"""The reference client of Gongji for hospital and pharmacy systems."""
