"""Data sets of other software, read and written: LeRobotDataset v3.0, robomimic's HDF5, Minari.

One module a format (see `lotj.interop.contract`), each of which imports its library when it is used. What all formats
share lies in `exchange`: the loops of `lotj data export` and `lotj data import`, which stream and go on after a kill.
"""
