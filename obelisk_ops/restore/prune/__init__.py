"""Removing from the bucket what nobody needs to restore any more; nothing else ever."""
