from shortlist.cli import main

main()
