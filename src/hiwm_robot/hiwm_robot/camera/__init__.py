# SPDX-License-Identifier: Apache-2.0
"""Real cameras: a RealSense, and what makes the task's frame of any camera's picture."""
