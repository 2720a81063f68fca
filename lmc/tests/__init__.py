"""Unit tests of lmc: each compares with arithmetic that does not use lmc."""
