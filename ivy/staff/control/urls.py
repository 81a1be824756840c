"""The addresses of the control room itself."""

from ivy.staff.control.halting import HaltPage, ResetBreakerPage, ResumePage
from ivy.staff.control.live import LatelyPart, NowPart
from ivy.staff.control.runs import RunCharges, RunPage, RunPart
from ivy.staff.pages import staff_path

urlpatterns = [
    staff_path("control/now/", NowPart, "control_now"),
    staff_path("control/lately/", LatelyPart, "control_lately"),
    staff_path("control/halt/<slug:process>/", HaltPage, "control_halt"),
    staff_path("control/resume/<slug:process>/", ResumePage, "control_resume"),
    staff_path("control/reset-breaker/", ResetBreakerPage, "control_reset_breaker"),
    staff_path("control/run/<int:pk>/", RunPage, "control_run"),
    staff_path("control/run/<int:pk>/part/", RunPart, "control_run_part"),
    staff_path("control/run/<int:pk>/charges/", RunCharges, "control_run_charges"),
]
