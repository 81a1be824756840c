"""The portal's own nouns, one file each; what partners look at belongs to billing and notifications."""

from ivy.portal.models.user import PortalUser, Role

__all__ = ["PortalUser", "Role"]
