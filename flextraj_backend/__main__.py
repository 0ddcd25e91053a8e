from flextraj_backend.cli import main

main()
