"""Accuracy beside what people would pick instead: recorded log → schedule → contenders → results → tables and pictures."""
