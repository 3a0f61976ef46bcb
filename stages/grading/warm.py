r"""Imported by the server that graders are forked from: what the first answers would make a worker learn, it knows.

That is sympy's imports and ANTLR's tables of a grammar, half a second of processor time. The server ignores SIGTERM as
its workers do (`stages.grading.pool`): it ends with the process that has the pool.
"""

import signal
import sys
from multiprocessing import forkserver

from stages.grading.mathematics import equivalent

if getattr(sys.modules["__main__"], "main", None) is forkserver.main:  # not where something else imports this
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

for _gold, _answer in [
    (r"\frac{\sqrt{2}}{3}", r"\frac{1}{2}\sqrt{3}"),
    ("2x+1", "x+y^2"),
    ("2a", "a+a"),
    ("(1,2)", "[1,3)"),
    (r"(3,\pi)", r"(2,\pi)"),
    (r"\{1,2\}", "1,3"),
    ("x=1", "x<2"),
    (r"\text{east}", "west"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\3\end{pmatrix}"),
]:
    equivalent(_gold, _answer)
