"""The addresses of the review, below /admin/."""

from ivy.staff.pages import staff_path
from ivy.staff.review import orders, pages

urlpatterns = [
    staff_path("review/", pages.QueuePage, "review"),
    staff_path("review/twice/", pages.TwicePage, "review_twice"),
    staff_path("review/mail/<int:pk>/", pages.MailPage, "review_mail"),
    *(staff_path(f"review/{page.verb}/", page, f"review_{page.verb}") for page in orders.PAGES.values()),
]
