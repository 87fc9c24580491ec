from uvbind._cli import main

raise SystemExit(main())
