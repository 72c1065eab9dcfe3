"""The WhatsApp bot; its folder is a package, so that its tests share one running service."""
