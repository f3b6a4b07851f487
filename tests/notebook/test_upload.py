from muscomp_lib.notebook import upload


def test_two_uploads_at_once_are_not_mixed():
    received = []
    button = upload.button("Upload", "audio/*", lambda name, share, content: received.append((name, share, content)))

    def send(name, at, content, size=4):
        button._handle_custom_msg({"name": name, "at": at, "size": size}, [content])

    send("old.wav", 0, b"OL")
    send("new.wav", 0, b"ne")
    send("old.wav", 2, b"D!")
    send("new.wav", 2, b"w!")
    send("new.wav", 2, b"w!")
    assert received[-1] == ("new.wav", 1.0, b"new!") and len(received) == 3
