// SPDX-License-Identifier: Apache-2.0
using System;
using System.Reflection;
using System.Runtime.InteropServices;

[assembly: AssemblyTitle("YoloQ.Drawing")]
[assembly: AssemblyDescription("Quantised YOLO detectors: detection on System.Drawing bitmaps")]
[assembly: AssemblyProduct("yoloq")]
[assembly: AssemblyCopyright("Apache-2.0")]
[assembly: AssemblyVersion("0.1.0.0")]
[assembly: AssemblyFileVersion("0.1.0.0")]
[assembly: AssemblyInformationalVersion("0.1.0")]
[assembly: CLSCompliant(false)]
[assembly: ComVisible(false)]
